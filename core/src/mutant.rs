//! Rules left out on purpose: the proof that the proof bites. Each [`Mutant`] is the program without one of its safety
//! rules; a test switches them on one by one and must see each caught.
//!
//! Without the feature `mutants`, which nothing that is shipped is built with, [`on`] is the constant `false` and
//! nothing of this is left. Some mutants live in drivers, which ask here, too.

#[cfg(test)]
mod environment;

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What is left out. The number in a name is the rule's.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Mutant { $($(#[$doc])* $name,)* }

        impl Mutant {
            /// All of them, by name.
            pub const ALL: &[(&'static str, Mutant)] = &[$((stringify!($name), Mutant::$name),)*];
        }
    };
}

mutants! {
    /// A scan compares the disk with what is accepted: an edit that is not yet is minted again, over the winner.
    R1Again,
    /// An edit is minted on what the tracker says, not on what is installed here.
    R1Remote,
    /// Counters follow the wall clock, backwards too.
    R1Clock,
    /// An edit is minted before the tracker has told all that it knows.
    R1Unheard,
    /// An edit is minted before the start scan has passed its path.
    R1Unscanned,
    /// An edit is announced before its row is durable.
    R2Durable,
    /// A merge is a new edit, as if a user had made it.
    R3Edit,
    /// Edits do not say what they replaced.
    R3Parent,
    /// A store that was rolled back or copied keeps its tag.
    R4Tag,
    /// Edits that nobody accepted keep their old tag.
    R4Mint,
    /// Under a new tag remote rows count as heard.
    R4Unknown,
    /// A new store inherits the holder bits of the one before.
    R4Bits,
    /// Two clones take turns for ever.
    R4Turns,
    /// Vectors alone decide: no fork is seen.
    R5Fork,
    /// A full vector takes no further tag.
    R6Full,
    /// A full vector loses its smallest counter, whosoever that is.
    R6Keep,
    /// An ancestor is a conflict like any other.
    R7Yield,
    /// Of two that cover each other, the one wins that would win between their edits alone.
    R7Mutual,
    /// The settlement of a fork is an edit that a removal of what it settled does not know of.
    R7Settled,
    /// A merge gets no fresh counter.
    R7Fresh,
    /// The same content on both sides is a conflict.
    R7Same,
    /// Equal vectors and content with other metadata are accepted.
    R7Meta,
    /// What the tracker does not tell of is removed.
    R8Absent,
    /// Nothing is told anew in a new epoch.
    R8Tell,
    /// What was only heard of is not told anew.
    R8Heard,
    /// Removals are not told anew.
    R8Tombstones,
    /// A copy is named by its resolver.
    R9Name,
    /// A copy's record is the resolver's own edit.
    R9Record,
    /// The loser is displaced without getting its copy's name first.
    R9Second,
    /// A pending copy is dropped as soon as its loser is known to whoever wins.
    R9Dropped,
    /// A directory wins by time alone.
    R9Directory,
    /// A removal beats a concurrent edit.
    R9Edit,
    /// Metadata of the winner replaces what only the loser changed.
    R9Fields,
    /// A content that nobody has keeps its path.
    R9aWithdraw,
    /// Who cannot serve does not say so.
    R9aLack,
    /// Who has a withdrawn content does not make it again.
    R9aMake,
    /// A removed directory takes along what lives in it.
    R9bRevive,
    /// Invented directories stay when they are empty.
    R9bInvented,
    /// What replaces a directory does not wait for the removals under it.
    R9bChildren,
    /// Removals are collected when they are old, whoever has applied them.
    R10Collect,
    /// A collected removal takes the row along, whatever is on disk.
    R10Erase,
    /// What the first scan after a store was lost finds of a removed content is a new file.
    R10Found,
    /// A swap is made before its intent is durable.
    R11Intent,
    /// What lies in tmp after a crash is taken for what was expected there.
    R11Unknown,
    /// A file that someone writes to is displaced (drivers).
    R12Writers,
    /// What a power cut left is an edit.
    R13Torn,
    /// That the power failed is known to the next start alone, however soon it ends.
    R13Later,
    /// What a power cut left goes by the tag of what it took.
    R13Tag,
    /// Compared later is what was to be set, not what was read back.
    R14ReadBack,
    /// What is displaced or removed is gone, not in the trash (drivers).
    R15Trash,
    /// It is told to be here before it is durable.
    R16Durable,
    /// It is not told anew on a new link.
    R16Anew,
    /// What happened to a file before it was moved, or since, is not asked.
    R17Touched,
    /// What happened to a moved file before it was looked at is told later (drivers).
    R17Fence,
    /// A device takes a roster that forgets a revocation.
    R20Forgets,
    /// The tracker does not unite revocations.
    R20Unite,
    /// The tracker changes the roster without a quorum.
    R20Quorum,
    /// An older roster replaces a newer one.
    R20Order,
    /// A roster founded in this boot goes before a sealed one.
    R21Founded,
    /// A content is installed without a look at its hash (drivers).
    NoHash,
    /// A verdict is lost.
    NoAck,
    /// A root that is gone is an empty one (drivers).
    NoRoot,
    /// Each side of a conflict thinks that it wins.
    BothWin,
    /// Equal vectors with other content make a holder.
    ForkHolds,
    /// Symlinks in a path are followed (drivers).
    FollowsLinks,
    /// A roster is taken whoever sealed it.
    NoMac,
    /// The last seq is used again once its entry is gone.
    SeqAgain,
    /// Holder bits of a device that left stay for the next in its slot.
    SlotBits,
    /// What came to a fellow when it last spoke counts for ever.
    SwarmDumb,
    /// What a source owed when its link ended is not asked of another.
    SwarmLost,
    /// Any tree is taken for the content's.
    SwarmRoot,
    /// What is only asked for is told and served, too.
    SwarmHolds,
    /// The part file of an earlier try is fetched again.
    SwarmPart,
    /// The part file of an earlier try is not checked.
    SwarmCheck,
    /// Who sent what is wrong is asked again.
    SwarmLiar,
    /// Who has not what is wanted is asked again.
    SwarmGone,
    /// A source that stands still keeps what it was asked for.
    SwarmStall,
    /// The tree is asked of those alone who have all of the content.
    SwarmTree,
    /// What a source passes over is waited for.
    SwarmHeld,
}

#[cfg(feature = "mutants")]
static ON: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(u32::MAX);

/// Whether that rule is left out in this process.
#[cfg(feature = "mutants")]
pub fn on(m: Mutant) -> bool {
    #[cfg(test)]
    environment::read();
    ON.load(core::sync::atomic::Ordering::Relaxed) == m as u32
}

/// Never: nothing is left out.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn on(_: Mutant) -> bool {
    false
}

/// Leaves that rule out from now on, in the whole process; `None`: all rules hold.
#[cfg(feature = "mutants")]
pub fn set(m: Option<Mutant>) {
    ON.store(m.map_or(u32::MAX, |m| m as u32), core::sync::atomic::Ordering::Relaxed);
}

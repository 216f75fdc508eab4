//! What happens in a crowd, one event after the other.

use super::crowd::*;
use super::*;
use crate::data::message::{Message, decode};

impl Crowd {
    /// Whom an event is handed to.
    fn hearer(event: &Event) -> Option<usize> {
        match *event {
            Event::Start(m) | Event::Named(m, ..) | Event::Closed(m, ..) | Event::Hear(m) => Some(m),
            Event::Ask(_, m, ..) | Event::Have(_, m, ..) | Event::Refused(_, m, ..) => Some(m),
            Event::Come(_, m, ..) | Event::Sent(m, ..) | Event::Open(_, m) | Event::Unreachable(m, _) => {
                Some(m)
            }
            _ => None,
        }
    }
    /// Whether the link over which something comes still stands at the end that it comes to.
    fn stands(&self, from: usize, to: usize, link: u64) -> bool {
        self.members[to].links.get(&from) == Some(&link)
    }
    pub(super) fn happen(&mut self, event: Event) {
        let at = Instant(self.now);
        if let Some(m) = Self::hearer(&event)
            && self.members[m].stopped > self.now
        {
            let until = self.members[m].stopped - self.now;
            return self.later(until, event);
        }
        match event {
            Event::Start(m) if self.members[m].end.is_none() && self.members[m].tries > 0 => {}
            Event::Start(m) if matches!(self.members[m].end, Some((Ok(()), _))) => {}
            Event::Start(m) => self.start(m),
            Event::Named(m, holders, seekers) => {
                let ticket = self.ticket(m);
                if let Some(s) = self.swarm(m) {
                    s.handle_sources(at, ticket, holders, seekers);
                }
            }
            Event::Open(a, b) => self.opened(a, b),
            Event::Unreachable(a, b) => {
                if let Some(s) = self.swarm(a) {
                    s.handle_unreachable(at, Slot(b as u8));
                }
            }
            Event::Closed(m, other, link) => {
                if self.stands(other, m, link) {
                    self.members[m].links.remove(&other);
                    self.members[m].queues[other].clear();
                    if let Some(s) = self.swarm(m) {
                        s.handle_closed(at, Slot(other as u8));
                    }
                }
            }
            Event::Break(a, b) => self.part(a, b),
            Event::Leave(m) => self.leave(m),
            Event::Back(m) => self.back(m),
            Event::Stop(m, long) => {
                let until = self.now + long;
                self.members[m].stopped = self.members[m].stopped.max(until);
            }
            Event::Change => self.change(),
            Event::Hear(m) => self.hear(m),
            event => self.carried(event),
        }
    }
    /// What comes over a link.
    fn carried(&mut self, event: Event) {
        let at = Instant(self.now);
        match event {
            Event::Have(from, to, link, bytes) => {
                let Ok(Message::Have(have)) = decode(&bytes) else { panic!("what was encoded is decoded") };
                if self.stands(from, to, link)
                    && !self.swarm(to).is_some_and(|s| s.handle_have(at, Slot(from as u8), &have))
                {
                    self.send(to, from, |l| Event::Refused(to, from, l, have.id, Refusal::Gone));
                }
            }
            Event::Refused(from, to, link, id, why) => {
                if self.stands(from, to, link)
                    && let Some(s) = self.swarm(to)
                {
                    s.handle_refused(at, Slot(from as u8), id, why);
                }
            }
            Event::Ask(from, to, link, ask) => {
                if self.stands(from, to, link) {
                    self.asked(from, to, ask)
                }
            }
            Event::Sent(from, to, life, ask) => {
                if self.members[from].life == life {
                    self.members[from].busy = false;
                    let good = !self.members[from].lies;
                    self.send(from, to, |l| Event::Come(from, to, l, ask, good));
                    self.serve(from);
                }
            }
            Event::Come(from, to, link, ask, good) => {
                if self.stands(from, to, link) {
                    self.come(from, to, ask, good)
                }
            }
            _ => unreachable!("handled before"),
        }
    }
    fn opened(&mut self, a: usize, b: usize) {
        let at = Instant(self.now);
        if self.members[b].gone || self.members[a].gone {
            if let Some(s) = self.swarm(a) {
                s.handle_unreachable(at, Slot(b as u8));
            }
            return;
        }
        // Of two links that two devices made at once, the second takes the place of the first, at both.
        self.links += 1;
        for (x, y) in [(a, b), (b, a)] {
            self.members[x].links.insert(y, self.links);
            self.members[x].queues[y].clear();
            if let Some(s) = self.swarm(x) {
                s.handle_open(at, Slot(y as u8));
            }
        }
    }
    /// Who holds the first version holds the second now; it hears of itself at once, seekers do later.
    fn change(&mut self) {
        self.current = 1;
        self.members.iter_mut().filter(|m| m.swarm.is_none() && !m.gone).for_each(|m| m.version = 1);
    }
    /// It seeks the next version instead; the part file stays, for what is in both.
    fn hear(&mut self, m: usize) {
        if self.members[m].gone || self.members[m].version == self.current {
            self.members[m].version = self.current;
            return;
        }
        let ticket = self.ticket(m);
        self.members[m].version = self.current;
        if self.members[m].end.is_none() {
            let at = Instant(self.now);
            let Some(s) = self.swarm(m) else { return };
            s.handle_cancel(ticket);
            // The end of what was given up concerns nobody.
            while let Some(effect) = self.swarm(m).and_then(|s| s.poll_effect(at)) {
                if !matches!(effect, Effect::Failed(..)) {
                    self.act(m, effect);
                }
            }
        }
        self.start(m);
    }
    fn asked(&mut self, from: usize, to: usize, ask: Ask) {
        let at = Instant(self.now);
        let slot = Slot(to as u8);
        match ask {
            Ask::Chunk { .. } => {
                self.members[to].queues[from].push_back(ask);
                self.serve(to);
            }
            Ask::Cancel { id } => self.members[to].queues[from].retain(|a| a.id() != Some(id)),
            Ask::Node { id, content, level, offset } => {
                let told = match self.knows(to, &content, level, offset) {
                    Some(Some(told)) => told,
                    Some(None) => {
                        return self.send(to, from, |l| Event::Refused(to, from, l, id, Refusal::Busy));
                    }
                    None => {
                        let seeks = self.members[to].swarm.is_some();
                        let asker = &mut self.members[from];
                        let fresh = asker.refused.insert((asker.tries, to));
                        assert!(fresh || seeks, "it asked again who had it not");
                        return self.send(to, from, |l| Event::Refused(to, from, l, id, Refusal::Gone));
                    }
                };
                self.members[to].told += 1;
                let lies = self.members[to].lies;
                if lies {
                    let asker = &mut self.members[from];
                    assert!(asker.fooled.insert((asker.tries, to)), "it asked again who had lied");
                }
                let Some(s) = self.swarm(from) else { return };
                match told {
                    Told::Root(mut root) => {
                        root.hash.0[0] ^= u8::from(lies);
                        s.handle_root(at, slot, id, root);
                    }
                    Told::Node(mut node) => {
                        node[3] ^= u8::from(lies);
                        s.handle_node(at, slot, id, &node);
                    }
                }
            }
            Ask::Ping => {}
            other => panic!("{other:?}: nothing old is here"),
        }
    }
    fn come(&mut self, from: usize, to: usize, ask: Ask, good: bool) {
        let Ask::Chunk { id, offset, len, .. } = ask else { unreachable!("only chunks are sent") };
        let (at, slot) = (Instant(self.now), Slot(from as u8));
        let Some(expect) = self.swarm(to).and_then(|s| s.expect(slot, id)) else { return };
        assert_eq!((expect.offset, expect.len), (offset, len));
        let Check::Chunk(hash) = expect.check else { panic!("large contents come in chunks") };
        let member = &mut self.members[to];
        let body = match good {
            false => {
                assert!(member.fooled.insert((member.tries, from)), "it asked again who had lied");
                Body::Bad
            }
            true if member.full > self.now => Body::Unwritten(28),
            true => {
                assert!(member.got.insert(offset), "nothing is taken twice");
                member.again += usize::from(member.part.insert(offset, hash) == Some(hash));
                Body::Good
            }
        };
        self.swarm(to).unwrap().handle_body(at, slot, id, body);
    }
}

//! Threads for slow work: jobs in, completions out, the main loop woken for each.
//!
//! Interactive jobs go before acts on large files, and these before bulk ones; one thread takes interactive jobs alone, so
//! that a small save need not wait for the end of a large file. What only waits for a disk has a thread of its own. A job
//! that panics has met a bug of this program: the panic goes on in the thread that polls.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

/// How urgent a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// Somebody waits for it.
    Interactive,
    /// The end of something large: it may take long, and much has been waited for already.
    Large,
    /// When nothing interactive waits.
    Bulk,
    /// It waits for a disk, however long, and needs no processor: one of these at a time, which holds up nothing else.
    Apart,
}

impl Priority {
    /// Of work that reads a file, which may be a large one.
    pub fn of(bulk: bool) -> Priority {
        if bulk { Priority::Bulk } else { Priority::Interactive }
    }
}

/// What a job finds at its thread.
pub struct Desk<'a> {
    /// A buffer that the thread's jobs share, one after the other; whatever is in it, and of any length.
    pub buffer: &'a mut Vec<u8>,
    /// Set when the pool shuts down: long jobs give up then, and what they return is dropped.
    pub stopping: &'a AtomicBool,
}

type Job<T> = Box<dyn FnOnce(&mut Desk<'_>) -> T + Send>;

/// How a thread waits for its next job.
type Take<T> = fn(&Shared<T>) -> Option<(Priority, Job<T>)>;

struct Queue<T> {
    interactive: VecDeque<Job<T>>,
    large: VecDeque<Job<T>>,
    bulk: VecDeque<Job<T>>,
    apart: VecDeque<Job<T>>,
    /// Threads at a job now that may take long.
    at_bulk: usize,
    /// Threads that wait for a job: without any, nobody is to be woken for one.
    idle: usize,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
    /// There is a job for the thread of what goes apart.
    apart: Condvar,
    stopping: AtomicBool,
    /// How many threads may be at such jobs at a time.
    bulk_threads: usize,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A pool of 2 to 4 threads, and one for what goes apart, whose jobs yield `T`. Dropping it takes no further job, tells the
/// running ones to stop, and waits for them.
pub struct Workers<T> {
    shared: Arc<Shared<T>>,
    done: Receiver<thread::Result<T>>,
    threads: Vec<JoinHandle<()>>,
    pending: usize,
}

impl<T: Send + 'static> Workers<T> {
    /// Starts `threads` threads (taken into 2..=4), and one more. `wake` is called, on a worker's thread, after each
    /// completion.
    pub fn new(threads: usize, wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Workers<T>> {
        let threads = threads.clamp(2, 4);
        let queue = Queue {
            interactive: VecDeque::new(),
            large: VecDeque::new(),
            bulk: VecDeque::new(),
            apart: VecDeque::new(),
            at_bulk: 0,
            idle: 0,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            apart: Condvar::new(),
            stopping: AtomicBool::new(false),
            bulk_threads: threads - 1,
            wake: Box::new(wake),
        });
        let (sender, done) = channel();
        let mut workers = Workers { shared, done, threads: Vec::new(), pending: 0 };
        for i in 0..=threads {
            let (shared, sender) = (workers.shared.clone(), sender.clone());
            let builder = thread::Builder::new().name(format!("worker-{i}")).stack_size(512 * 1024);
            let take = if i < threads { Shared::take } else { Shared::take_apart };
            workers.threads.push(builder.spawn(move || work(&shared, take, &sender))?);
        }
        Ok(workers)
    }

    /// Queues a job behind those of its priority.
    pub fn submit(&mut self, priority: Priority, job: impl FnOnce(&mut Desk<'_>) -> T + Send + 'static) {
        let mut queue = self.shared.lock();
        match priority {
            Priority::Interactive => queue.interactive.push_back(Box::new(job)),
            Priority::Large => queue.large.push_back(Box::new(job)),
            Priority::Bulk => queue.bulk.push_back(Box::new(job)),
            Priority::Apart => queue.apart.push_back(Box::new(job)),
        }
        self.pending += 1;
        match priority {
            Priority::Apart => self.shared.apart.notify_one(),
            _ => self.shared.rouse(queue),
        }
    }

    /// The next completion, if there is one. Panics with the job's panic if it had one.
    pub fn poll(&mut self) -> Option<T> {
        let outcome = self.done.try_recv().ok()?;
        self.pending -= 1;
        Some(outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Jobs submitted whose completion has not been polled.
    pub fn pending(&self) -> usize {
        self.pending
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().expect("no job runs under the lock")
    }

    /// The next job for a thread, which waits for one; `None` when the pool stops.
    fn take(&self) -> Option<(Priority, Job<T>)> {
        let mut queue = self.lock();
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(job) = queue.interactive.pop_front() {
                return Some((Priority::Interactive, job));
            }
            if queue.at_bulk < self.bulk_threads
                && let Some(job) = queue.large.pop_front().or_else(|| queue.bulk.pop_front())
            {
                queue.at_bulk += 1;
                return Some((Priority::Bulk, job));
            }
            queue.idle += 1;
            queue = self.changed.wait(queue).expect("no job runs under the lock");
            queue.idle -= 1;
        }
    }

    /// The same for the thread of what goes apart.
    fn take_apart(&self) -> Option<(Priority, Job<T>)> {
        let mut queue = self.lock();
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(job) = queue.apart.pop_front() {
                return Some((Priority::Apart, job));
            }
            queue = self.apart.wait(queue).expect("no job runs under the lock");
        }
    }

    /// There may be a job for one more thread.
    fn rouse(&self, queue: MutexGuard<'_, Queue<T>>) {
        let waits = queue.idle > 0;
        drop(queue);
        if waits {
            self.changed.notify_one();
        }
    }
}

fn work<T>(shared: &Shared<T>, take: Take<T>, done: &Sender<thread::Result<T>>) {
    let mut buffer = Vec::new();
    while let Some((priority, job)) = take(shared) {
        let mut desk = Desk { buffer: &mut buffer, stopping: &shared.stopping };
        let outcome = catch_unwind(AssertUnwindSafe(|| job(&mut desk)));
        if priority == Priority::Bulk {
            let mut queue = shared.lock();
            queue.at_bulk -= 1;
            shared.rouse(queue);
        }
        if done.send(outcome).is_err() {
            return;
        }
        (shared.wake)();
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        self.shared.stopping.store(true, Ordering::Relaxed);
        queue.interactive.clear();
        queue.large.clear();
        queue.bulk.clear();
        queue.apart.clear();
        drop(queue);
        self.shared.changed.notify_all();
        self.shared.apart.notify_all();
        for thread in self.threads.drain(..) {
            // A thread ends only by its loop; jobs' panics are caught there.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    /// A pool whose wake-ups can be waited for.
    fn pool<T: Send + 'static>(threads: usize) -> (Workers<T>, Receiver<()>) {
        let (sender, woken) = channel();
        let wake = move || {
            let _ = sender.send(());
        };
        (Workers::new(threads, wake).unwrap(), woken)
    }

    fn next<T: Send + 'static>(workers: &mut Workers<T>, woken: &Receiver<()>) -> T {
        woken.recv_timeout(Duration::from_secs(10)).expect("a wake-up for each completion");
        workers.poll().expect("woken after the completion is there")
    }

    #[test]
    fn every_job_completes_once_and_wakes() {
        let (mut workers, woken) = pool(3);
        for i in 0..200u32 {
            let priority = if i % 2 == 0 { Priority::Bulk } else { Priority::Interactive };
            workers.submit(priority, move |desk| {
                desk.buffer.resize(i as usize, 0);
                i
            });
        }
        assert_eq!(workers.pending(), 200);
        let mut seen: Vec<u32> = (0..200).map(|_| next(&mut workers, &woken)).collect();
        seen.sort();
        assert!(seen.into_iter().eq(0..200));
        assert_eq!((workers.pending(), workers.poll()), (0, None));
    }

    #[test]
    fn interactive_jobs_pass_bulk_ones() {
        let (mut workers, woken) = pool(2);
        let (open, gate) = channel::<()>();
        // One thread is at bulk until the gate opens; the other is kept from bulk.
        workers.submit(Priority::Bulk, move |_| {
            let _ = gate.recv();
            "first bulk"
        });
        workers.submit(Priority::Bulk, |_| "second bulk");
        for _ in 0..3 {
            workers.submit(Priority::Interactive, |_| "interactive");
        }
        for _ in 0..3 {
            assert_eq!(next(&mut workers, &woken), "interactive");
        }
        open.send(()).unwrap();
        // The second may begin, and end, while the first is still on its way to the queue of completions.
        let mut bulk = [next(&mut workers, &woken), next(&mut workers, &woken)];
        bulk.sort();
        assert_eq!(bulk, ["first bulk", "second bulk"]);
    }

    #[test]
    fn acts_on_large_files_pass_bulk_and_leave_a_thread_to_interactive_jobs() {
        let (mut workers, woken) = pool(2);
        let ((open, gate), (begins, begun)) = (channel::<()>(), channel());
        let told = begins.clone();
        workers.submit(Priority::Large, move |_| {
            let _ = (told.send("first large"), gate.recv());
        });
        assert_eq!(begun.recv(), Ok("first large"));
        let jobs = [(Priority::Bulk, "bulk"), (Priority::Large, "large"), (Priority::Interactive, "quick")];
        for (priority, name) in jobs {
            let told = begins.clone();
            workers.submit(priority, move |_| told.send(name).unwrap());
        }
        next(&mut workers, &woken);
        open.send(()).unwrap();
        (0..3).for_each(|_| next(&mut workers, &woken));
        assert_eq!(begun.try_iter().collect::<Vec<_>>(), ["quick", "large", "bulk"]);
    }

    #[test]
    fn what_waits_for_a_disk_holds_up_nothing_else_and_each_other_alone() {
        let (mut workers, woken) = pool(2);
        let (open, gate) = channel::<()>();
        workers.submit(Priority::Apart, move |_| {
            let _ = gate.recv();
            "first apart"
        });
        workers.submit(Priority::Apart, |_| "second apart");
        let (leave, left) = channel::<()>();
        workers.submit(Priority::Large, move |_| {
            let _ = left.recv();
            "large"
        });
        workers.submit(Priority::Interactive, |_| "interactive");
        assert_eq!(next(&mut workers, &woken), "interactive");
        leave.send(()).unwrap();
        workers.submit(Priority::Bulk, |_| "bulk");
        let mut others = [next(&mut workers, &woken), next(&mut workers, &woken)];
        others.sort();
        assert_eq!(others, ["bulk", "large"]);
        open.send(()).unwrap();
        assert_eq!([next(&mut workers, &woken), next(&mut workers, &woken)], ["first apart", "second apart"]);
    }

    #[test]
    fn dropping_stops_running_jobs_and_forgets_waiting_ones() {
        let (mut workers, _woken) = pool(2);
        let ran = Arc::new(AtomicUsize::new(0));
        let (started, running) = channel();
        for _ in 0..50 {
            let (ran, started) = (ran.clone(), started.clone());
            workers.submit(Priority::Bulk, move |desk| {
                let _ = started.send(());
                while !desk.stopping.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
        running.recv().unwrap();
        drop(workers);
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&ran), 1, "waiting jobs are dropped with what they hold");
    }

    #[test]
    fn a_jobs_panic_goes_on_where_it_is_polled() {
        let (mut workers, woken) = pool::<()>(2);
        workers.submit(Priority::Interactive, |_| resume_unwind(Box::new("a bug")));
        woken.recv_timeout(Duration::from_secs(10)).unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| workers.poll())).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"a bug"));
        workers.submit(Priority::Bulk, |_| ());
        next(&mut workers, &woken);
    }
}

//! Threads that fill batches, in order, into a fixed number of buffers.
//!
//! Work is dealt out by the image, not by the batch, so that all threads are busy on one batch and
//! the first is ready early. A thread prepares into scratch memory of its own and copies into the
//! batch's buffer; the copy is some 2 % of a decode, and it keeps rows of one buffer shared
//! between threads without `unsafe`. Nothing that a source or a consumer does runs under a lock.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::order::Plan;
use super::source::{Fault, Place, Source, StageTimes, Worker};

/// Values that a thread prepares before it hands them over: enough that small images do not pay a
/// lock each, little enough to stay in its cache.
const CHUNK_VALUES: usize = 16 * 1024;

/// A thread pool that is filling the batches of one plan.
pub(crate) struct Pool<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    taken: usize,
    waited: Duration,
}

/// A finished batch.
pub(crate) struct Filled<T> {
    /// Which batch of the plan.
    pub(crate) k: usize,
    /// The rows in order, at least as many as the batch has; rows with a fault hold anything.
    pub(crate) buffer: Vec<T>,
    /// By row, rising.
    pub(crate) faults: Vec<(usize, RowFault)>,
}

/// Why a row is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowFault {
    /// The source says so.
    Fault(Fault),
    /// The worker panicked, with this message.
    Panic(String),
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) times: StageTimes,
    /// Threads without a buffer to fill, summed over threads.
    pub(crate) waited_for_space: Duration,
    /// The consumer without a batch.
    pub(crate) waited_for_data: Duration,
    /// Buffers ever made; none is given back before the end.
    pub(crate) buffers: usize,
    pub(crate) buffer_bytes: usize,
}

struct Shared<T> {
    plan: Plan,
    epoch: u64,
    row_len: usize,
    /// Rows of a task.
    chunk: usize,
    /// Buffers there may be.
    limit: usize,
    stopped: AtomicBool,
    state: Mutex<State<T>>,
    space: Condvar,
    ready: Condvar,
}

struct State<T> {
    /// The batch that is dealt out, and its next row.
    dealing: usize,
    row: usize,
    /// Batches begun and not taken; the first is number `taken`.
    open: VecDeque<Open<T>>,
    taken: usize,
    free: Vec<Vec<T>>,
    counts: Counts,
}

struct Open<T> {
    buffer: Arc<Mutex<Vec<T>>>,
    remaining: usize,
    faults: Vec<(usize, RowFault)>,
}

struct Task<T> {
    k: usize,
    rows: Range<usize>,
    buffer: Arc<Mutex<Vec<T>>>,
}

impl<T: Copy + Default + Send + 'static> Pool<T> {
    /// Starts `threads` threads on `plan`, at most `buffers` batches at a time. An error says how
    /// many threads had started.
    pub(crate) fn start<S: Source<T>>(
        source: &Arc<S>,
        plan: Plan,
        epoch: u64,
        threads: usize,
        buffers: usize,
    ) -> Result<Self, (usize, io::Error)> {
        let row_len = source.shape().iter().product();
        let shared = Arc::new(Shared {
            epoch,
            row_len,
            chunk: (CHUNK_VALUES / row_len).clamp(1, plan.largest().div_ceil(threads).max(1)),
            limit: buffers,
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                dealing: 0,
                row: 0,
                open: VecDeque::new(),
                taken: 0,
                free: Vec::new(),
                counts: Counts::default(),
            }),
            space: Condvar::new(),
            ready: Condvar::new(),
            plan,
        });
        // Made first: should a thread not start, dropping it stops those that did.
        let mut pool = Self { shared, threads: Vec::new(), taken: 0, waited: Duration::ZERO };
        for number in 0..threads {
            let (shared, source) = (Arc::clone(&pool.shared), Arc::clone(source));
            let name = format!("loader {number}");
            let run = move || work(&shared, &*source);
            let started = thread::Builder::new().name(name).spawn(run);
            pool.threads.push(started.map_err(|error| (number, error))?);
        }
        Ok(pool)
    }

    /// The next batch, or `None` after the last; waits until it is full.
    ///
    /// Its buffer must come back by [`Pool::recycle`], or the threads run out of them.
    pub(crate) fn take(&mut self) -> Option<Filled<T>> {
        let k = self.taken;
        if k == self.shared.plan.batches() {
            return None;
        }
        let mut state = self.shared.lock();
        let start = Instant::now();
        while state.open.front().is_none_or(|open| open.remaining > 0) {
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.waited += start.elapsed();
        let open = state.open.pop_front()?;
        state.taken += 1;
        drop(state);
        self.taken += 1;
        let mut faults = open.faults;
        faults.sort_unstable_by_key(|&(row, _)| row);
        let buffer = mem::take(&mut *lock(&open.buffer));
        Some(Filled { k, buffer, faults })
    }

    pub(crate) fn recycle(&mut self, buffer: Vec<T>) {
        self.shared.lock().free.push(buffer);
        self.shared.space.notify_all();
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { waited_for_data: self.waited, ..self.shared.lock().counts }
    }
}

impl<T> Pool<T> {
    /// Ends the threads: each finishes at most the image it is at.
    pub(crate) fn stop(&mut self) {
        // Under the lock, or a thread about to wait would miss the call.
        let state = self.shared.lock();
        self.shared.stopped.store(true, Ordering::Relaxed);
        drop(state);
        self.shared.space.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was caught and is in the batch's faults.
            let _ended = thread.join();
        }
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// A panic under one of our locks leaves nothing half done that matters.
fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Copy + Default> Shared<T> {
    /// The next rows to prepare; waits for a buffer; `None` when all are dealt out or at a stop.
    fn deal(&self) -> Option<Task<T>> {
        let mut state = self.lock();
        loop {
            let k = state.dealing;
            if self.is_stopped() || k == self.plan.batches() {
                return None;
            }
            let rows = self.plan.rows(k).len();
            if state.row > 0 || self.open(&mut state, rows) {
                let start = state.row;
                let end = rows.min(start + self.chunk);
                let buffer = Arc::clone(&state.open.back()?.buffer);
                (state.dealing, state.row) = if end == rows { (k + 1, 0) } else { (k, end) };
                if end == rows {
                    // Those who wait must see that nothing is left, or that a batch begins.
                    self.space.notify_all();
                }
                return Some(Task { k, rows: start..end, buffer });
            }
            let start = Instant::now();
            state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.counts.waited_for_space += start.elapsed();
        }
    }

    /// Begins a batch, if there is a buffer for it.
    fn open(&self, state: &mut State<T>, rows: usize) -> bool {
        let buffer = match state.free.pop() {
            Some(buffer) => buffer,
            None if state.counts.buffers < self.limit => {
                let len = self.plan.largest() * self.row_len;
                state.counts.buffers += 1;
                state.counts.buffer_bytes += len * size_of::<T>();
                vec![T::default(); len]
            }
            None => return false,
        };
        let buffer = Arc::new(Mutex::new(buffer));
        state.open.push_back(Open { buffer, remaining: rows, faults: Vec::new() });
        true
    }

    fn finish(&self, task: &Task<T>, faults: Vec<(usize, RowFault)>, times: StageTimes) {
        let mut state = self.lock();
        state.counts.times.add(times);
        // A batch is not taken before its last row is here.
        let at = task.k - state.taken;
        let open = &mut state.open[at];
        open.remaining -= task.rows.len();
        open.faults.extend(faults);
        if at == 0 && open.remaining == 0 {
            self.ready.notify_one();
        }
    }
}

/// One thread's life.
fn work<T: Copy + Default, S: Source<T>>(shared: &Shared<T>, source: &S) {
    let mut worker = None;
    let mut scratch = vec![T::default(); shared.chunk * shared.row_len];
    while let Some(task) = shared.deal() {
        let mut faults = Vec::new();
        let mut times = StageTimes::default();
        let first = shared.plan.rows(task.k).start;
        for (row, out) in task.rows.clone().zip(scratch.chunks_exact_mut(shared.row_len)) {
            if shared.is_stopped() {
                return;
            }
            let place = Place { index: shared.plan.index(first + row), epoch: shared.epoch };
            let run = AssertUnwindSafe(|| {
                worker.get_or_insert_with(|| source.worker()).run(place, out, &mut times)
            });
            match catch_unwind(run) {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => faults.push((row, RowFault::Fault(fault))),
                Err(panic) => {
                    // What it was at may be half done: the next image gets a new one. Its own drop
                    // may panic as well, and must not take the thread along.
                    let _dropped = catch_unwind(AssertUnwindSafe(|| drop(worker.take())));
                    faults.push((row, RowFault::Panic(message(&*panic))));
                }
            }
        }
        let len = task.rows.len() * shared.row_len;
        let start = task.rows.start * shared.row_len;
        lock(&task.buffer)[start..start + len].copy_from_slice(&scratch[..len]);
        shared.finish(&task, faults, times);
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

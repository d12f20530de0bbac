//! Channels between threads, as `std::sync::mpsc` has them.

use super::turns::{self, Core, TaskId};
use std::collections::VecDeque;
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

struct Inner<T> {
    queue: VecDeque<T>,
    senders: usize,
    waiter: Option<TaskId>,
}

struct Chan<T> {
    inner: Mutex<Inner<T>>,
    core: Arc<Core>,
}

impl<T> Chan<T> {
    fn with<R>(&self, f: impl FnOnce(&mut Inner<T>) -> R) -> R {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake(&self) {
        if let Some(task) = self.with(|inner| inner.waiter) {
            self.core.state().wake(task);
        }
    }
}

/// As std's.
pub struct Sender<T>(Arc<Chan<T>>);

/// As std's.
pub struct Receiver<T>(Arc<Chan<T>>);

/// As std's.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let inner = Mutex::new(Inner { queue: VecDeque::new(), senders: 1, waiter: None });
    let chan = Arc::new(Chan { inner, core: turns::core() });
    (Sender(Arc::clone(&chan)), Receiver(chan))
}

impl<T> Sender<T> {
    /// As std's; it never fails.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.with(|inner| inner.queue.push_back(value));
        self.0.wake();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.with(|inner| inner.senders += 1);
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.with(|inner| inner.senders -= 1);
        self.0.wake();
    }
}

impl<T> Receiver<T> {
    /// As std's.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.with(|inner| match inner.queue.pop_front() {
            Some(value) => Ok(value),
            None if inner.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        })
    }

    fn wait(&self, until: Option<u64>) -> Result<T, RecvTimeoutError> {
        loop {
            match self.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            if until.is_some_and(|until| turns::with(|state, _| state.now_us >= until)) {
                return Err(RecvTimeoutError::Timeout);
            }
            self.0.with(|inner| inner.waiter = turns::me());
            turns::park(until);
            self.0.with(|inner| inner.waiter = None);
        }
    }

    /// As std's.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.wait(None).map_err(|_| RecvError)
    }

    /// As std's.
    pub fn recv_timeout(&self, time: Duration) -> Result<T, RecvTimeoutError> {
        let until = turns::with(|state, _| state.now_us + time.as_micros() as u64);
        self.wait(Some(until))
    }
}

/// As std's.
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        Iter(self)
    }
}

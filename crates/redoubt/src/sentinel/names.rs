//! Looking host names up, each on a thread of its own: name servers may take many seconds.

use super::driver::News;
use mio::Waker;
use std::collections::{BTreeSet, VecDeque};
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// Look-ups at a time; more wait.
const LOOKUPS_MAX: usize = 16;

/// Look-ups that run or wait.
#[derive(Default)]
pub struct Names {
    running: BTreeSet<String>,
    waiting: VecDeque<String>,
}

impl Names {
    /// Looks a name up, unless that is being done.
    pub fn resolve(&mut self, host: String, news: &Sender<News>, waker: &Arc<Waker>) {
        if self.running.contains(&host) || self.waiting.contains(&host) {
            return;
        }
        if self.running.len() >= LOOKUPS_MAX {
            self.waiting.push_back(host);
            return;
        }
        self.running.insert(host.clone());
        let (own_news, own_waker, name) = (news.clone(), Arc::clone(waker), host.clone());
        let started = std::thread::Builder::new().name("resolve".into()).spawn(move || {
            let addr = (name.as_str(), 0).to_socket_addrs().ok().and_then(|mut found| found.next());
            let addr = addr.map(|addr| crate::io::addr::plain_ip(addr.ip()));
            // The driver lives as long as the process.
            let _ = own_news.send(News::Resolved(name, addr));
            let _ = own_waker.wake();
        });
        if started.is_err() {
            // No thread to be had: as if the name server were silent.
            let _ = news.send(News::Resolved(host, None));
        }
    }

    /// A look-up has ended.
    pub fn done(&mut self, host: &str, news: &Sender<News>, waker: &Arc<Waker>) {
        self.running.remove(host);
        if let Some(next) = self.waiting.pop_front() {
            self.resolve(next, news, waker);
        }
    }
}

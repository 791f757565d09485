//! Somebody between a phone and the box who changes what the phone says: what the box then makes of it shows in the call.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// A pair of sockets that datagrams pass until it is dropped.
#[derive(Debug)]
pub struct Meddler {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Meddler {
    /// Passes what comes to `inner` from `phone` on to the `target`, from `outer`, and the answers back. `change` may change
    /// what goes to the target, but not how long it is.
    pub fn between(
        phone: SocketAddr,
        inner: SocketAddr,
        outer: SocketAddr,
        target: SocketAddr,
        change: impl Fn(&mut [u8]) + Send + 'static,
    ) -> Meddler {
        let stop = Arc::new(AtomicBool::new(false));
        let [inner, outer] = [inner, outer].map(|at| {
            let socket = UdpSocket::bind(at).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            Arc::new(socket)
        });
        let outwards = pass(&inner, &outer, target, &stop, change);
        let inwards = pass(&outer, &inner, phone, &stop, |_| {});
        Meddler { stop, threads: vec![outwards, inwards] }
    }
}

fn pass(
    from: &Arc<UdpSocket>,
    by: &Arc<UdpSocket>,
    to: SocketAddr,
    stop: &Arc<AtomicBool>,
    change: impl Fn(&mut [u8]) + Send + 'static,
) -> JoinHandle<()> {
    let (from, by, stop) = (Arc::clone(from), Arc::clone(by), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut room = vec![0; 65_535];
        while !stop.load(Relaxed) {
            let Ok(length) = from.recv(&mut room) else { continue };
            change(&mut room[..length]);
            by.send_to(&room[..length], to).unwrap();
        }
    })
}

/// Puts `new` in the place of every `old`, which is as long.
pub fn replace(text: &mut [u8], old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    for at in 0..text.len().saturating_sub(old.len() - 1) {
        if text[at..].starts_with(old.as_bytes()) {
            text[at..at + new.len()].copy_from_slice(new.as_bytes());
        }
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

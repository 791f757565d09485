//! A line to a server that is cut when the test says so: in the middle of what is sent, before its answer, or silently.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a side that says nothing looks whether the line is cut.
const LOOK: Duration = Duration::from_millis(20);

/// No cut is near.
const FAR: i64 = i64::MAX;

/// A line between a client and a server, by TCP. Its threads end with the test.
#[derive(Debug, Clone)]
pub struct Cut(Arc<State>);

#[derive(Debug)]
struct State {
    /// So many octets of the client's pass yet.
    left: AtomicI64,
    /// The next answer is not passed on, and the line is cut.
    no_answer: AtomicBool,
    /// Nothing passes, and nobody is told.
    silent: AtomicBool,
    down: AtomicBool,
    cuts: AtomicU64,
    ends: Mutex<Vec<TcpStream>>,
}

impl Cut {
    /// A line from this address to a server.
    pub fn new(from: SocketAddr, to: SocketAddr) -> Cut {
        let listener = TcpListener::bind(from).unwrap();
        let cut = Cut(Arc::new(State {
            left: AtomicI64::new(FAR),
            no_answer: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            down: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            ends: Mutex::default(),
        }));
        let line = cut.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // One that is down takes the connection and ends it.
                if !line.0.down.load(Ordering::SeqCst)
                    && let Ok(server) = TcpStream::connect(to)
                {
                    line.join(client, server);
                }
            }
        });
        cut
    }

    /// After so many octets more of the client's.
    pub fn after(&self, octets: i64) {
        self.0.left.store(octets, Ordering::SeqCst);
    }

    /// When the server answers next: what it was asked to do it has done, and nobody hears of it.
    pub fn before_the_answer(&self) {
        self.0.no_answer.store(true, Ordering::SeqCst);
    }

    /// Nothing passes any more, and no end is told.
    pub fn silently(&self) {
        self.0.silent.store(true, Ordering::SeqCst);
    }

    /// It is whole again.
    pub fn mend(&self) {
        self.0.left.store(FAR, Ordering::SeqCst);
        for flag in [&self.0.no_answer, &self.0.silent, &self.0.down] {
            flag.store(false, Ordering::SeqCst);
        }
    }

    /// Whether it is cut now, or passes nothing.
    pub fn is_cut(&self) -> bool {
        self.0.down.load(Ordering::SeqCst) || self.0.silent.load(Ordering::SeqCst)
    }

    /// How often it was cut.
    pub fn cuts(&self) -> u64 {
        self.0.cuts.load(Ordering::SeqCst)
    }

    fn join(&self, client: TcpStream, server: TcpStream) {
        let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
        self.0.ends.lock().unwrap().extend(ends);
        for (from, to, is_client) in
            [(client.try_clone().unwrap(), server.try_clone().unwrap(), true), (server, client, false)]
        {
            let line = self.clone();
            std::thread::spawn(move || line.pass(from, to, is_client));
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_client: bool) {
        let mut room = [0; 16 * 1024];
        from.set_read_timeout(Some(LOOK)).unwrap();
        while !self.0.down.load(Ordering::SeqCst) {
            if self.0.silent.load(Ordering::SeqCst) {
                std::thread::sleep(LOOK);
                continue;
            }
            let count = match from.read(&mut room) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            if !is_client && self.0.no_answer.load(Ordering::SeqCst) {
                return self.cut();
            }
            let passes = match is_client {
                true => self.0.left.load(Ordering::SeqCst).clamp(0, count as i64),
                false => count as i64,
            };
            if to.write_all(&room[..passes as usize]).is_err() {
                break;
            }
            if is_client && self.0.left.load(Ordering::SeqCst) != FAR {
                let left = self.0.left.fetch_sub(passes, Ordering::SeqCst) - passes;
                if left <= 0 {
                    return self.cut();
                }
            }
        }
        for end in [from, to] {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }

    fn cut(&self) {
        self.0.down.store(true, Ordering::SeqCst);
        self.0.cuts.fetch_add(1, Ordering::SeqCst);
        for end in self.0.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

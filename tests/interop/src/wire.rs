//! A UDP socket that says exactly what a test wants to say, for what no phone would do.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A peer without a stack.
#[derive(Debug)]
pub struct Wire {
    socket: UdpSocket,
    remote: SocketAddr,
}

impl Wire {
    /// From `host`:5060 to `remote`.
    pub fn new(host: Ipv4Addr, remote: SocketAddr) -> Wire {
        let socket = UdpSocket::bind((host, 5060)).unwrap();
        Wire { socket, remote }
    }

    /// Its own address, as SIP writes it.
    pub fn local(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }

    /// Sends one datagram.
    pub fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.remote).unwrap();
    }

    /// Sends a message written with LF line ends, as CR LF.
    pub fn say(&self, text: &str) {
        self.send(text.replace('\n', "\r\n").as_bytes());
    }

    /// The next datagram from the box, or nothing when it stays silent for so long.
    pub fn hear(&self, limit: Duration) -> Option<String> {
        self.hear_bytes(limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// [`hear`](Wire::hear) for what need not be text.
    pub fn hear_bytes(&self, limit: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut buffer = vec![0; 65_536];
        loop {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == self.remote => {
                    return Some(buffer[..length].to_vec());
                }
                Ok(_) | Err(_) if Instant::now() >= end => return None,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The first line of the next datagram that does not begin with `SIP/2.0 100`.
    pub fn hear_final(&self, limit: Duration) -> Option<String> {
        loop {
            let text = self.hear(limit)?;
            if !text.starts_with("SIP/2.0 100") {
                return Some(text);
            }
        }
    }
}

//! rtpengine's control protocol, as much of it as sets a call up: bencoded dictionaries in datagrams, each after a
//! cookie that comes back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::agent::{audio_port, description};

/// A connection to an rtpengine.
#[derive(Debug)]
pub struct Rtpengine {
    socket: UdpSocket,
    cookie: u64,
}

impl Rtpengine {
    /// Talks to the control port `server`.
    pub fn connect(server: SocketAddr) -> io::Result<Rtpengine> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Rtpengine { socket, cookie: 0 })
    }

    /// Sets one call up between two phones; returns the ports where the relay waits for the caller and the callee.
    pub fn call(
        &mut self,
        id: usize,
        caller: (Ipv4Addr, u16),
        callee: (Ipv4Addr, u16),
    ) -> io::Result<(u16, u16)> {
        let offered = self.ask("offer", id, &[("from-tag", "a")], &description(caller.0, caller.1))?;
        let answered =
            self.ask("answer", id, &[("from-tag", "a"), ("to-tag", "b")], &description(callee.0, callee.1))?;
        // The offer as rewritten is what the callee gets, the answer as rewritten what the caller gets.
        Ok((answered, offered))
    }

    fn ask(&mut self, command: &str, id: usize, tags: &[(&str, &str)], sdp: &str) -> io::Result<u16> {
        self.cookie += 1;
        let call_id = format!("load{id}");
        let mut keys = vec![("ICE", "remove"), ("call-id", &*call_id), ("command", command), ("sdp", sdp)];
        keys.extend_from_slice(tags);
        keys.sort_unstable();
        let mut text = format!("{} d", self.cookie);
        for (key, value) in keys {
            text += &format!("{}:{key}{}:{value}", key.len(), value.len());
        }
        text += "e";
        self.socket.send(text.as_bytes())?;
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer)?;
        let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        audio_port(&answer).ok_or_else(|| io::Error::other(format!("rtpengine refuses {command}: {answer}")))
    }
}

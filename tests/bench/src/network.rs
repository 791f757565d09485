//! Sockets in other network namespaces than the rest of the process. A socket stays where it was opened.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Does something in the namespace that `ip netns` knows by this name; in our own, where it has none.
pub fn within<T>(name: &str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if name.is_empty() {
        return act();
    }
    let home = File::open("/proc/thread-self/ns/net")?;
    let place = File::open(format!("/run/netns/{name}"))?;
    move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))?;
    let done = act();
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
    done
}

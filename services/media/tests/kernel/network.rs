//! Two network namespaces joined by a veth pair: the relay is in one, phones are in the other.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

/// When it is set, a test that cannot be made fails.
const REQUIRED: &str = "DRAWBRIDGE_TEST_KERNEL";

/// Where the relay is.
pub const BOX: &str = "10.77.0.1";
pub const BOX_6: &str = "fd77::1";
/// Where phones may be.
pub const PEERS: [&str; 3] = ["10.77.0.2", "10.77.0.3", "10.77.0.66"];
pub const PEERS_6: [&str; 2] = ["fd77::2", "fd77::3"];

/// Exists until it is dropped. The thread that made it is in the namespace of the relay.
pub struct Network {
    relay: String,
    peers: String,
    outside: String,
    home: File,
}

impl Network {
    /// `None`, and says why, where the system does not allow it.
    pub fn new() -> Option<Network> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let name = |what: &str| format!("db-{what}-{}-{number}", std::process::id());
        if let Err(why) = ip(&["netns", "add", &name("relay")]) {
            assert!(
                std::env::var_os(REQUIRED).is_none(),
                "{REQUIRED} is set, and there is no network: {why}"
            );
            eprintln!("SKIPPED, NOT TESTED: the engine in the kernel needs network namespaces: {why}");
            return None;
        }
        let network = Network {
            relay: name("relay"),
            peers: name("peers"),
            outside: name("outside"),
            home: File::open("/proc/thread-self/ns/net").unwrap(),
        };
        let (relay, peers) = (network.relay.as_str(), network.peers.as_str());
        ip(&["netns", "add", peers]).unwrap();
        let pair =
            ["-n", relay, "link", "add", "box0", "type", "veth", "peer", "name", "peer0", "netns", peers];
        ip(&pair).unwrap();
        let address = |place: &str, device: &str, address: &str| {
            let bits = if address.contains(':') { "64" } else { "24" };
            let mut order = vec!["-n", place, "address", "add"];
            let with_bits = format!("{address}/{bits}");
            order.extend([with_bits.as_str(), "dev", device]);
            if address.contains(':') {
                order.push("nodad");
            }
            ip(&order).unwrap();
        };
        address(relay, "box0", BOX);
        address(relay, "box0", BOX_6);
        PEERS.iter().chain(&PEERS_6).for_each(|peer| address(peers, "peer0", peer));
        for (place, device) in [(relay, "lo"), (relay, "box0"), (peers, "lo"), (peers, "peer0")] {
            // Link-local addresses would come later, and be a change of routes.
            ip(&["-n", place, "link", "set", device, "addrgenmode", "none"]).unwrap();
            ip(&["-n", place, "link", "set", device, "up"]).unwrap();
        }
        enter(&network.relay_file());
        network.wait_for_link();
        Some(network)
    }

    /// A link says up to a second after the order that it is up, and that is a change of links.
    fn wait_for_link(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let show = ["-n", &self.relay, "-o", "link", "show", "dev", "box0"];
        while !ip(&show).unwrap().contains("state UP") {
            assert!(Instant::now() < deadline, "box0 is not up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Joins the relay to a second network, whose one host says that it has this address of the first. The relay's host
    /// refuses what its routes contradict (RFC 3704 §2.2).
    pub fn join_impostor(&self, address: &str) {
        let (relay, outside) = (self.relay.as_str(), self.outside.as_str());
        // An impostor gets no answer to ARP either.
        let box1 = "02:00:00:00:77:01";
        let order = |place: &str, order: &str| {
            ip(&["-n", place].into_iter().chain(order.split(' ')).collect::<Vec<_>>()).unwrap();
        };
        ip(&["netns", "add", outside]).unwrap();
        order(relay, &format!("link add box1 address {box1} type veth peer name peer1 netns {outside}"));
        order(relay, "address add 10.78.0.1/24 dev box1");
        order(outside, "address add 10.78.0.2/24 dev peer1");
        order(outside, &format!("address add {address}/32 dev peer1"));
        order(relay, "link set box1 up");
        order(outside, "link set peer1 up");
        order(outside, &format!("neighbour replace 10.78.0.1 lladdr {box1} dev peer1 nud permanent"));
        order(outside, &format!("route add {BOX}/32 via 10.78.0.1"));
        std::fs::write("/proc/sys/net/ipv4/conf/box1/rp_filter", "1").unwrap();
    }

    /// A socket of the impostor.
    pub fn impostor(&self, address: SocketAddr) -> UdpSocket {
        self.socket_in(&self.outside, address)
    }

    /// A socket among the peers.
    pub fn socket(&self, address: &str) -> UdpSocket {
        self.socket_in(&self.peers, SocketAddr::new(address.parse().unwrap(), 0))
    }

    fn socket_in(&self, place: &str, address: SocketAddr) -> UdpSocket {
        enter(&File::open(format!("/run/netns/{place}")).unwrap());
        let socket = UdpSocket::bind(address).unwrap();
        enter(&self.relay_file());
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// Runs `ip` where the peers are.
    pub fn change_peers(&self, order: &[&str]) {
        ip(&[&["-n", self.peers.as_str()], order].concat()).unwrap();
    }

    /// Every frame that passes the interface of the peers.
    pub fn frames(&self) -> Socket {
        enter(&File::open(format!("/run/netns/{}", self.peers)).unwrap());
        let everything = i32::from(0x0003_u16.to_be());
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(everything))).unwrap();
        enter(&self.relay_file());
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// What brings a thread to where the relay is.
    pub fn enter_from_another_thread(&self) -> impl FnOnce() + Send + 'static {
        let place = self.relay_file();
        move || enter(&place)
    }

    /// Runs `ip` where the relay is.
    pub fn change(&self, order: &[&str]) {
        ip(&[&["-n", self.relay.as_str()], order].concat()).unwrap();
    }

    fn relay_file(&self) -> File {
        File::open(format!("/run/netns/{}", self.relay)).unwrap()
    }
}

/// The next UDP datagram over IPv4 to this port, from its IP header on.
pub fn datagram_to(port: u16, frames: &mut Socket) -> Vec<u8> {
    let mut frame = [0; 2048];
    loop {
        let length = frames.read(&mut frame).unwrap();
        let ip = &frame[14..length];
        if length > 42 && ip[9] == 17 && ip[22..24] == port.to_be_bytes() {
            return ip.to_vec();
        }
    }
}

/// The sum that RFC 1071 makes; all ones where a checksum is right.
pub fn folded(octets: &[u8]) -> u32 {
    let sum: u32 = octets.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    (sum & 0xffff) + (sum >> 16)
}

impl Drop for Network {
    fn drop(&mut self) {
        enter(&self.home);
        for name in [&self.relay, &self.peers, &self.outside] {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn enter(place: &File) {
    move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn ip(order: &[&str]) -> Result<String, String> {
    let done = Command::new("ip").args(order).output().map_err(|error| format!("ip: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!("ip {}: {}", order.join(" "), String::from_utf8_lossy(&done.stderr).trim()))
}

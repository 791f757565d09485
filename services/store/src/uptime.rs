//! Time that no step of the clock touches and that two processes share: how long the machine has been up.
//!
//! A call's times are those of a clock of its own, set once and monotonic from then on. What happens to a call after its process
//! has died must be told by that clock, and the wall clock may have been set meanwhile: so each word of a call, and each sign
//! of life, also says how long the machine had been up.

use std::sync::LazyLock;

use rustix::time::{ClockId, clock_gettime};

/// How long the machine had been up, sleep included, and since which start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uptime {
    start: u64,
    micros: i64,
}

/// Which start of the machine this is; `None`: the system does not say.
static START: LazyLock<Option<u64>> = LazyLock::new(|| {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = uuid::Uuid::parse_str(id.trim()).ok()?;
    Some(id.as_u64_pair().0 ^ id.as_u64_pair().1)
});

impl Uptime {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn now() -> Option<Uptime> {
        let up = clock_gettime(ClockId::Boottime);
        Some(Uptime { start: (*START)?, micros: up.tv_sec * 1_000_000 + up.tv_nsec / 1_000 })
    }

    /// Microseconds from `earlier` to this; none where it was not earlier. `None`: the machine was started in between.
    pub(crate) fn since(self, earlier: Uptime) -> Option<i64> {
        (self.start == earlier.start).then(|| (self.micros.saturating_sub(earlier.micros)).max(0))
    }

    pub(crate) fn to_bytes(self) -> [u8; Uptime::BYTES] {
        let mut bytes = [0; Uptime::BYTES];
        let (start, micros) = bytes.split_at_mut(8);
        start.copy_from_slice(&self.start.to_le_bytes());
        micros.copy_from_slice(&self.micros.to_le_bytes());
        bytes
    }

    /// `None`: not as many bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Uptime> {
        let (start, micros) = bytes.split_first_chunk()?;
        Some(Uptime {
            start: u64::from_le_bytes(*start),
            micros: i64::from_le_bytes(micros.try_into().ok()?),
        })
    }
}

//! Processor time of other processes, as the kernel counts it.

use std::fs;

/// Processes whose time is read together.
#[derive(Clone, Debug, Default)]
pub struct Processes(pub Vec<u32>);

impl Processes {
    /// From a list with commas: `12,34`.
    pub fn parse(list: &str) -> Result<Processes, String> {
        let pids = list.split(',').filter(|pid| !pid.is_empty());
        let pids = pids.map(|pid| pid.parse().map_err(|_| format!("`{pid}` is no process id")));
        Ok(Processes(pids.collect::<Result<_, _>>()?))
    }

    /// Nanoseconds that all their threads have run so far, user and system.
    pub fn nanoseconds(&self) -> u64 {
        self.0.iter().map(|pid| of_tasks(&format!("/proc/{pid}/task"))).sum()
    }
}

/// The threads that do the network's work when it is too much to be done beside that of others.
pub fn softirq_threads() -> Processes {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let named = |entry: &fs::DirEntry| fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
    let threads = entries.filter(|entry| named(entry).starts_with("ksoftirqd/"));
    Processes(threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// The same of this process.
pub fn own_nanoseconds() -> u64 {
    of_tasks("/proc/self/task")
}

fn of_tasks(folder: &str) -> u64 {
    let tasks = fs::read_dir(folder).into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|time| time.split(' ').next()?.parse::<u64>().ok()).sum()
}

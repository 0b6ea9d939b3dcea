//! The metrics that Prometheus' users expect of every process, read from `/proc` at each scrape. A metric that cannot be
//! read is left out.

use std::fs;
use std::time::Duration;

use super::exposition::sample;

/// Linux reports processor time in hundredths of a second (`USER_HZ`), whatever unit the kernel uses internally.
const TICKS_PER_SECOND: f64 = 100.0;

/// Writes the metrics of this process. `started` is counted since the Unix epoch.
pub(super) fn write(text: &mut String, started: Duration) {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let (stat, status, limits) = (read("stat"), read("status"), read("limits"));
    if let Some(seconds) = cpu_seconds(&stat) {
        sample(text, "process_cpu_seconds_total", "counter", "Processor time used, in user and kernel mode.", seconds);
    }
    let gauges = [
        ("process_resident_memory_bytes", "Memory in use.", kibibytes(&status, "VmRSS:")),
        ("process_virtual_memory_bytes", "Address space in use.", kibibytes(&status, "VmSize:")),
        ("process_threads", "Threads.", field(&status, "Threads:")),
        ("process_open_fds", "Open file descriptors.", open_descriptors()),
        ("process_max_fds", "Most file descriptors that may be open.", field(&limits, "Max open files")),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            sample(text, name, "gauge", help, value);
        }
    }
    let help = "When the process started, as a Unix time.";
    sample(text, "process_start_time_seconds", "gauge", help, format_args!("{:.2}", started.as_secs_f64()));
}

/// `utime` and `stime` of proc(5), fields 14 and 15. The second field, the command, may contain anything; it ends with the
/// last parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut after_state = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, kernel): (u64, u64) = (after_state.next()?.parse().ok()?, after_state.next()?.parse().ok()?);
    Some(user.checked_add(kernel)? as f64 / TICKS_PER_SECOND)
}

/// The first number of the line that begins with `label`.
fn field(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, label: &str) -> Option<u64> {
    field(status, label)?.checked_mul(1024)
}

/// Without the descriptor that this reading opens.
fn open_descriptors() -> Option<u64> {
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_full_of_parentheses_shifts_nothing() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 3 0 100 1000 5 6";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_in_bytes_and_unlimited_is_no_number() {
        let status = "Name:\tx\nVmSize:\t   12 kB\nVmRSS:\t       7 kB\nThreads:\t3\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(7 * 1024));
        assert_eq!(field(status, "Threads:"), Some(3));
        assert_eq!(field("Max open files            1024   4096   files\n", "Max open files"), Some(1024));
        assert_eq!(field("Max open files            unlimited   unlimited   files\n", "Max open files"), None);
    }

    #[test]
    fn this_process_can_be_seen() {
        let mut text = String::new();
        write(&mut text, Duration::from_millis(1_500));
        for name in ["cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "threads", "open_fds"] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name} is missing from\n{text}");
        }
        assert!(text.ends_with("\nprocess_start_time_seconds 1.50\n"), "{text}");
    }
}

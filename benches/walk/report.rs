//! Printing what was measured.

use std::time::Duration;

use crate::load::Measured;

/// Prints the head of a table of rates; `columns` name what the rates are compared with.
pub(crate) fn head(title: &str, columns: &[&str]) {
    print!("\n{title:<44} {:>9}", "per s");
    for column in columns {
        print!(" {column:>12}");
    }
    println!(" {:>9} {:>9}", "p50 ms", "p99 ms");
}

/// Prints a rate, its percentage of each of the `floors`, and its latencies.
pub(crate) fn rate(name: &str, measured: &Measured, floors: &[f64]) {
    print!("{name:<44} {:>9.0}", measured.rate());
    for floor in floors {
        print!(" {:>10.0} %", measured.rate() / floor * 100.0);
    }
    let (p50, p99) = measured.latency();
    println!(" {:>9} {:>9}", milliseconds(p50), milliseconds(p99));
}

/// Prints one figure.
pub(crate) fn figure(name: &str, value: impl std::fmt::Display) {
    println!("{name:<44} {value:>9}");
}

/// A duration in milliseconds, without the unit; `-` for none.
pub(crate) fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".into(), |time| format!("{:.2}", time.as_secs_f64() * 1e3))
}

/// A duration with its unit.
pub(crate) fn time(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

/// Bytes as MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The value below which a part of the sorted values lies.
pub(crate) fn quantile<T: Copy>(sorted: &[T], part: f64) -> Option<T> {
    sorted.get((sorted.len().saturating_sub(1) as f64 * part) as usize).copied()
}

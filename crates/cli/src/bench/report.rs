//! Results in redis-benchmark's forms: whole, quiet, CSV.

use super::engine::Measured;
use super::histogram::{Histogram, bucket};
use super::options::Options;
use super::suite::Test;

/// The first line of CSV.
pub const CSV_HEAD: &str = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
                            \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n";

/// Prints at once.
pub fn say(text: &str) -> Result<(), String> {
    crate::shell::emit(text.as_bytes()).map_err(|error| error.to_string())
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// Average, least, p50, p95, p99, greatest, in milliseconds.
fn key_numbers(all: &Histogram) -> [f64; 6] {
    let at = |percent| ms(all.at_percentile(percent).0);
    [all.mean() / 1000.0, ms(all.min()), at(50.0), at(95.0), at(99.0), ms(all.max())]
}

/// Prints the result of one test.
pub fn show(
    options: &Options,
    test: &Test,
    result: &Measured,
    config: Option<&(String, String)>,
) -> Result<(), String> {
    let all = &result.latencies;
    let seconds = (result.took.as_millis().max(1)) as f64 / 1000.0;
    let rate = all.total() as f64 / seconds;
    let numbers = key_numbers(all);
    if options.csv {
        let numbers = numbers.map(|number| format!("\"{number:.3}\"")).join(",");
        return say(&format!("\"{}\",\"{rate:.2}\",{numbers}\n", test.title));
    }
    if options.quiet {
        let median = numbers[2];
        return say(&format!(
            "{}: {rate:.2} requests per second, p50={median:.3} msec\n",
            test.title
        ));
    }
    let mut text = format!(
        "====== {} ======\n  {} requests completed in {seconds:.2} seconds\n  {} parallel clients\n  \
         {} bytes payload\n  keep alive: {}\n",
        test.title,
        all.total(),
        options.clients,
        options.data_size,
        u8::from(options.keep_alive)
    );
    if let Some((save, appendonly)) = config {
        text += &format!(
            "  host configuration \"save\": {save}\n  host configuration \"appendonly\": {appendonly}\n"
        );
    }
    text += &match options.threads {
        0 => "  multi-thread: no\n".to_owned(),
        threads => format!("  multi-thread: yes\n  threads: {threads}\n"),
    };
    text += "\nLatency by percentile distribution:\n";
    text += &percentiles(all);
    text += "\nCumulative distribution of latencies:\n";
    text += &cumulative(all);
    text += &format!(
        "\nSummary:\n  throughput summary: {rate:.2} requests per second\n  latency summary (msec):\n    \
         {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n    ",
        "avg", "min", "p50", "p95", "p99", "max"
    );
    text += &numbers.map(|number| format!("{number:>9.3}")).join(" ");
    text.push_str("\n\n");
    say(&text)
}

fn line(percent: f64, micros: u64, count: u64) -> String {
    format!("{percent:.3}% <= {:.3} milliseconds (cumulative count {count})\n", ms(micros))
}

/// 0, 50, 75, 87.5 percent and so on, until all are counted.
fn percentiles(all: &Histogram) -> String {
    let (mut text, mut percent) = (String::new(), 0.0);
    loop {
        let (micros, count) = all.at_percentile(percent);
        text += &line(percent, micros, count);
        if count >= all.total() {
            break;
        }
        percent += (100.0 - percent) / 2.0;
    }
    text + &line(100.0, all.max(), all.total())
}

/// Steps of 0.1 milliseconds up to 2, then of 1; steps that add nothing are left out.
fn cumulative(all: &Histogram) -> String {
    let (mut text, mut step, mut before) = (String::new(), 100_u64, None);
    loop {
        let top = bucket(step);
        let count = all.count_up_to(top);
        if before != Some(count) {
            let percent = 100.0 * count as f64 / all.total().max(1) as f64;
            text += &line(percent, top, count);
            before = Some(count);
        }
        if count >= all.total() {
            return text;
        }
        step += if step < 2100 { 100 } else { 1000 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions() {
        let mut all = Histogram::default();
        for micros in [90, 150, 160, 24_100] {
            all.add(micros);
        }
        assert_eq!(
            percentiles(&all),
            "0.000% <= 0.095 milliseconds (cumulative count 1)\n\
             50.000% <= 0.151 milliseconds (cumulative count 2)\n\
             75.000% <= 0.167 milliseconds (cumulative count 3)\n\
             87.500% <= 24.111 milliseconds (cumulative count 4)\n\
             100.000% <= 24.111 milliseconds (cumulative count 4)\n"
        );
        assert_eq!(
            cumulative(&all),
            "25.000% <= 0.103 milliseconds (cumulative count 1)\n\
             75.000% <= 0.207 milliseconds (cumulative count 3)\n\
             100.000% <= 24.111 milliseconds (cumulative count 4)\n"
        );
    }
}

//! csvstat: count, minimum, mean and maximum of each numeric column of a CSV file.
//!
//!     csvstat [FILE]        (standard input without one)
//!
//! Rust's standard library only; the same source compiles natively.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::process::exit;

struct Column {
    name: String,
    count: u64,
    min: f64,
    max: f64,
    sum: f64,
}

impl Column {
    fn new(name: String) -> Column {
        Column { name, count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0 }
    }

    fn add(&mut self, value: f64) {
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
    }
}

/// Splits a line at commas outside double quotes; "" inside quotes is one quote.
fn fields(line: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                all.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(String::new()),
            c => all.last_mut().unwrap().push(c),
        }
    }
    all
}

fn stat(input: impl Read) -> io::Result<Vec<Column>> {
    let mut lines = BufReader::new(input).lines();
    let mut columns: Vec<Column> = match lines.next() {
        Some(head) => fields(&head?).into_iter().map(Column::new).collect(),
        None => Vec::new(),
    };
    for line in lines {
        for (column, field) in columns.iter_mut().zip(fields(&line?)) {
            if let Ok(value) = field.trim().parse() {
                column.add(value);
            }
        }
    }
    Ok(columns)
}

fn run() -> io::Result<()> {
    let columns = match env::args().nth(1) {
        Some(path) => stat(File::open(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {}", path, e)))?)?,
        None => stat(io::stdin())?,
    };
    for c in columns.iter().filter(|c| c.count > 0) {
        println!("{}: count {}, min {}, mean {:.3}, max {}", c.name, c.count, c.min, c.sum / c.count as f64, c.max);
    }
    Ok(())
}

fn main() {
    if let Err(e) = run() {
        eprintln!("csvstat: {}", e);
        exit(1);
    }
}

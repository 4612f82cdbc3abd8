// A server in Rust: std's listener on descriptor 3 answers each line in capitals.
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::wasi::io::FromRawFd;

fn main() -> std::io::Result<()> {
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    loop {
        let (stream, _) = listener.accept()?;
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            (&stream).write_all(line.to_uppercase().as_bytes())?;
            line.clear();
        }
    }
}

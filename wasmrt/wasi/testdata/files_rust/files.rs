// What Rust's std makes of files and directories: each line of output is a fact that the test knows.
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};

fn main() -> std::io::Result<()> {
    let dir = std::env::args().nth(1).unwrap();
    let at = |name: &str| format!("{}/{}", dir, name);
    let mut f = OpenOptions::new().read(true).write(true).create(true).open(at("a"))?;
    f.write_all(b"hello world")?;
    f.seek(SeekFrom::Start(6))?;
    let mut text = String::new();
    f.read_to_string(&mut text)?;
    f.set_len(5)?;
    f.sync_all()?;
    println!("read {}, length {}", text, f.metadata()?.len());
    OpenOptions::new().append(true).open(at("a"))?.write_all(b"!")?;
    println!("now {}", fs::read_to_string(at("a"))?);
    println!("again {:?}", OpenOptions::new().write(true).create_new(true).open(at("a")).unwrap_err().kind() == ErrorKind::AlreadyExists);
    fs::create_dir_all(at("d/e"))?;
    fs::rename(at("a"), at("d/e/b"))?;
    fs::copy(at("d/e/b"), at("d/c"))?;
    let mut names: Vec<_> = fs::read_dir(at("d"))?.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    println!("names {:?}", names);
    fs::remove_dir_all(at("d"))?;
    println!("gone {:?}", File::open(at("d/c")).unwrap_err().kind() == ErrorKind::NotFound);
    std::thread::sleep(std::time::Duration::from_millis(5));
    Ok(())
}

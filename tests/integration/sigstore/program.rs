//! A server of the instance, killed on drop.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::{self, free_port, wait_until};

pub(super) struct Program(Child);

impl Program {
    /// Starts what `command` returns for a port, in this directory, and waits until the port is open. Its output is in
    /// `<name>.log`.
    #[track_caller]
    pub(super) fn start(dir: &Path, name: &str, command: impl Fn(u16) -> Command) -> (Self, u16) {
        let log = dir.join(format!("{name}.log"));
        // Another process may take a port before the server does. Other ports are tried then.
        for _ in 0..5 {
            let port = free_port();
            let output = File::create(&log).unwrap();
            let errors = output.try_clone().unwrap();
            let mut command = command(port);
            command.current_dir(dir).env("HOME", dir);
            let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().unwrap();
            let mut program = Self(child);
            let mut has_ended = false;
            wait_until(&format!("the port of {name}"), || {
                has_ended = program.0.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if !has_ended {
                return (program, port);
            }
        }
        panic!("{name} does not start:\n{}", fs::read_to_string(log).unwrap_or_default());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended already
        let _ = process::wait(&mut self.0, Duration::from_secs(10));
    }
}

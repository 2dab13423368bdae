//! An application that hangs: it accepts, reads what comes, and never answers.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    thread,
};

/// Serves nothing on this port of every address, until killed.
pub(crate) fn run(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    for connection in listener.incoming() {
        let mut connection = connection?;
        // The peer's close ends the thread, so that impatient peers do not pile up.
        thread::spawn(move || io::copy(&mut connection, &mut io::sink()));
    }
    Ok(())
}

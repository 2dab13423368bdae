//! HTTP as a test needs it: one request on a connection of its own.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

/// An address of loopback where nobody listens now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// Sends a request with these lines of its head, and gives the status and the body of the answer.
pub(crate) fn exchange(
    address: SocketAddr,
    head: &[&str],
    body: &[u8],
) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    let head = head.join("\r\n");
    let length = body.len();
    let head = format!(
        "{head}\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let wrong = || io::Error::other(format!("no answer: {}", answer.escape_ascii()));
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(wrong)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = &answer[end + 4..];
    Ok((status, if is_chunked { unchunked(body) } else { body.to_vec() }))
}

/// The body of the chunks, up to the one without a byte.
fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|window| window == b"\r\n") {
        let length = std::str::from_utf8(&chunks[..end]).ok();
        let length = length.and_then(|hex| usize::from_str_radix(hex, 16).ok()).unwrap_or(0);
        if length == 0 {
            break;
        }
        body.extend(&chunks[end + 2..][..length]);
        chunks = &chunks[end + 2 + length + 2..];
    }
    body
}

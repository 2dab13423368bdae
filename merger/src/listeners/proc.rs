//! Rung 4: the tables of sockets and of open files in `/proc`, which every kernel has.
//!
//! The tables are text that the kernel writes, so a line that is not understood is left out.
//! Listening sockets come first in a table and are all that is read of it: a pod with a million
//! connections costs no more than one with none.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    net::IpAddr,
    num::NonZeroU16,
};

use crate::{
    listeners::{SOCKETS_PER_NETNS, Socket},
    netns::Netns,
};

/// A line has 150 bytes for IPv4 and about 190 for IPv6; the kernel pads, it never writes more.
const LINE: usize = 512;

/// `TCP_LISTEN`, as the column `st` has it.
const LISTEN: &str = "0A";

/// Reads one line of `/proc/<pid>/net/tcp` or `tcp6`: nothing for the heading, for a socket that
/// does not listen, and for what is no such line.
///
/// The columns are `sl local_address rem_address st …`, the inode is the tenth: `get_tcp4_sock` in
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_ipv4.c>.
#[must_use]
pub fn parse(line: &str) -> Option<Socket> {
    let mut columns = line.split_ascii_whitespace();
    let local = columns.nth(1)?;
    let (LISTEN, inode) = (columns.nth(1)?, columns.nth(5)?) else { return None };
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().and_then(NonZeroU16::new)?;
    Some(Socket { address: parse_address(address)?, port, inode: inode.parse().ok()? })
}

/// The listening sockets of a namespace, read from inside it. Needs `CAP_SYS_ADMIN`.
pub fn listeners_of(netns: &Netns) -> io::Result<Vec<Socket>> {
    // An open table stays that of the namespace it was opened in, so it is read at home.
    let tables = netns.within(|| open("/proc/thread-self/net"))?;
    tables.into_iter().try_fold(vec![], |mut sockets, table| {
        read(table, &mut sockets)?;
        Ok(sockets)
    })
}

/// The listening sockets of the namespace that a process is in. Needs no right.
pub fn listeners_of_pid(pid: u32) -> io::Result<Vec<Socket>> {
    let mut sockets = vec![];
    for table in open(&format!("/proc/{pid}/net"))? {
        read(table, &mut sockets)?;
    }
    Ok(sockets)
}

/// The sockets that a process has open, by inode; none where that cannot be read.
pub fn inodes_of(pid: u32) -> impl Iterator<Item = u64> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| {
        let target = fs::read_link(file.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// Both tables of a directory `net`. The second is absent where IPv6 is switched off.
fn open(directory: &str) -> io::Result<Vec<File>> {
    let v4 = File::open(format!("{directory}/tcp"))?;
    match File::open(format!("{directory}/tcp6")) {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![v4]),
        Err(error) => Err(error),
    }
}

/// Adds the listening sockets of a table: where there are more than the limit of a namespace, more than
/// that.
fn read(table: impl Read, sockets: &mut Vec<Socket>) -> io::Result<()> {
    // Its heading is a line as well.
    let limit = u64::try_from(LINE * (SOCKETS_PER_NETNS + 2)).unwrap_or(u64::MAX);
    let lines = BufReader::new(table.take(limit)).lines().skip(1);
    for line in lines {
        let line = line?;
        // The listening sockets come first: `tcp_seq_start` in net/ipv4/tcp_ipv4.c.
        let Some(LISTEN) = line.split_ascii_whitespace().nth(3) else { break };
        sockets.extend(parse(&line));
    }
    Ok(())
}

/// Words of 32 bits, each in the order of the machine, though the whole is in network order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |n: usize| {
        let digits = hex.get(8 * n..8 * n + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const REST: &str = "00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0";

    #[track_caller]
    fn check(line: &str, expected: Option<(&str, u16, u64)>) {
        let found = parse(line);
        let expected = expected.map(|(address, port, inode)| Socket {
            address: address.parse().unwrap(),
            port: NonZeroU16::new(port).unwrap(),
            inode,
        });
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn an_address_is_a_word_in_the_machines_order() {
        check(
            &format!("   0: 0100007F:1F90 {REST} 4711 1 0000000000000000 100 0 0 10 0"),
            Some(("127.0.0.1", 8080, 4711)),
        );
    }

    #[test]
    fn an_ipv6_address_is_four_such_words() {
        check(
            &format!("   1: B80D0120000000000000000001000000:0050 {REST} 5 1 0 100 0 0 10 0"),
            Some(("2001:db8::1", 80, 5)),
        );
        check(&format!("   1: {}:0050 {REST} 5", "0".repeat(32)), Some(("::", 80, 5)));
    }

    #[test]
    fn ipv4_mapped_into_ipv6_is_ipv4() {
        check(
            &format!("   1: 0000000000000000FFFF00000100007F:0050 {REST} 5"),
            Some(("127.0.0.1", 80, 5)),
        );
    }

    #[test]
    fn a_connection_is_no_listener() {
        check(
            "   0: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 4711",
            None,
        );
    }

    #[test]
    fn what_is_no_such_line_is_left_out() {
        for line in [
            "",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            "0: 0100007F:1F90",
            &format!("0: 0100007F {REST} 5"),
            &format!("0: 0100007F:0000 {REST} 5"),
            &format!("0: 0100007F:1F90 {REST} x"),
            &format!("0: 0100007:1F90 {REST} 5"),
            &format!("0: éééé:1F90 {REST} 5"),
        ] {
            check(line, None);
        }
    }

    #[test]
    fn a_table_is_read_as_far_as_its_listeners_go() {
        let table = format!(
            "heading\n0: 0100007F:0001 {REST} 1\n1: 0100007F:0002 0: 01\n2: 0100007F:0003 {REST} 3\n"
        );
        let mut sockets = vec![];
        read(table.as_bytes(), &mut sockets).unwrap();
        assert_eq!(sockets.iter().map(|socket| socket.inode).collect::<Vec<_>>(), [1]);
    }
}

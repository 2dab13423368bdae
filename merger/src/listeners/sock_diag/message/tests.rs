use super::*;

/// What Linux 6.18 answered to [`request`] in a fresh namespace with seven listeners, of which
/// 127.0.0.1:9091 is one of MPTCP.
const V4: &str = "
7c00000014000200070000004f600000020a0000238300007f00000100000000000000000000000000000000
000000000000000000000000000000000d0000000000000000000000000000008000000000000000c416fe01
050008000000000008000f00000000000c00150001000000000000000600160052000000
7c00000014000200070000004f600000020a00001f9000007f00000100000000000000000000000000000000
000000000000000000000000000000000e0000000000000000000000000000008000000000000000c216fe01
050008000000000008000f00000000000c00150001000000000000000600160052000000
7c00000014000200070000004f600000020a0000238200000000000000000000000000000000000000000000
000000000000000000000000000000000f0000000000000000000000000000008000000000000000c316fe01
050008000000000008000f00000000000c00150001000000000000000600160052000000";

const V6: &str = "
8400000014000200070000004f6000000a0a00002386000000000000000000000000ffff7f00000100000000
00000000000000000000000000000000100000000000000000000000000000008000000000000000c916fe01
050008000000000005000b000000000008000f00000000000c00150001000000000000000600160012000000
8400000014000200070000004f6000000a0a00001f9100000000000000000000000000000000000100000000
00000000000000000000000000000000110000000000000000000000000000008000000000000000c616fe01
050008000000000005000b000100000008000f00000000000c00150001000000000000000600160012000000
8400000014000200070000004f6000000a0a0000238400000000000000000000000000000000000000000000
00000000000000000000000000000000120000000000000000000000000000008000000000000000c716fe01
050008000000000005000b000100000008000f00000000000c00150001000000000000000600160012000000
8400000014000200070000004f6000000a0a0000238500000000000000000000000000000000000000000000
00000000000000000000000000000000130000000000000000000000000000008000000000000000c816fe01
050008000000000005000b000000000008000f00000000000c00150001000000000000000600160012000000";

const DONE: &str = "1400000003000200070000004f60000000000000";

/// To a request for `IPPROTO_RAW`, which that kernel had no `raw_diag` for.
const ABSENT: &str = "1400000003000200070000004f600000feffffff";

/// To a request that was too short.
const INVALID: &str =
    "2800000002000000070000004f600000eaffffff1400000014000103070000000000000061626364";

const SEQUENCE: u32 = 7;
const LIMIT: usize = 100;

/// Where the kernel's messages end in [`V4`].
const ENDS: [usize; 4] = [0, 124, 248, 372];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn take(family: Family, datagram: &[u8]) -> (Answer, Result<State, Error>) {
    let mut answer = Answer::new(family, SEQUENCE, LIMIT);
    let state = answer.take(datagram);
    (answer, state)
}

#[track_caller]
fn check(family: Family, datagram: &str, expected: &[(&str, u64, Option<bool>)]) {
    let (answer, state) = take(family, &bytes(datagram));
    assert_eq!(state.unwrap(), State::More);
    let found: Vec<_> = answer
        .told
        .iter()
        .map(|told| {
            let Told { socket: Socket { address, port, inode }, v6only } = *told;
            (std::net::SocketAddr::new(address, port.get()).to_string(), inode, v6only)
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|&(address, inode, v6only)| (address.to_owned(), inode, v6only))
        .collect();
    assert_eq!(found, expected);
    assert!(!answer.interrupted);
}

#[track_caller]
fn check_refused(datagram: &[u8], expected: &str) {
    let (answer, state) = take(Family::V4, datagram);
    let error = state.map_err(|error| match error {
        Error::Refused(why) => why.to_string(),
        other => other.to_string(),
    });
    assert_eq!(error.unwrap_err(), expected);
    assert_eq!(answer.told, []);
}

/// [`V4`] with these bytes of its first message in the place of its own.
fn changed(at: usize, new: &[u8]) -> Vec<u8> {
    let mut datagram = bytes(V4);
    datagram[at..at + new.len()].copy_from_slice(new);
    datagram
}

#[test]
fn a_request_is_what_the_kernel_was_asked() {
    let zeros = "00".repeat(48);
    let v4 = format!("48000000140001030700000000000000 02060000 00040000{zeros}");
    let v6 = format!("48000000140001030700000000000000 0a060000 00040000{zeros}");
    assert_eq!(request(Family::V4, SEQUENCE).to_vec(), bytes(&v4));
    assert_eq!(request(Family::V6, SEQUENCE).to_vec(), bytes(&v6));
}

#[test]
fn sockets_of_ipv4_are_read() {
    check(
        Family::V4,
        V4,
        &[
            ("127.0.0.1:9091", 33_429_188, None),
            ("127.0.0.1:8080", 33_429_186, None),
            ("0.0.0.0:9090", 33_429_187, None),
        ],
    );
}

#[test]
fn sockets_of_ipv6_say_whether_they_take_ipv4_and_mapped_is_ipv4() {
    check(
        Family::V6,
        V6,
        &[
            ("127.0.0.1:9094", 33_429_193, Some(false)),
            ("[::1]:8081", 33_429_190, Some(true)),
            ("[::]:9092", 33_429_191, Some(true)),
            ("[::]:9093", 33_429_192, Some(false)),
        ],
    );
}

#[test]
fn the_other_family_is_left_out() {
    check(Family::V6, V4, &[]);
    check(Family::V4, V6, &[]);
}

#[test]
fn a_connection_and_a_socket_without_port_are_left_out() {
    // The state, then the port.
    for (at, new) in [(17, &[1][..]), (20, &[0, 0])] {
        let (answer, state) = take(Family::V4, &changed(at, new));
        assert_eq!((answer.told.len(), state.unwrap()), (2, State::More));
    }
}

#[test]
fn the_end_is_the_end() {
    let (answer, state) = take(Family::V4, &bytes(&[V4, DONE, V4].concat()));
    assert_eq!((answer.told.len(), state.unwrap()), (3, State::Done));
}

#[test]
fn what_the_kernel_refuses_has_its_reason() {
    check_refused(&bytes(ABSENT), "No such file or directory (os error 2)");
    check_refused(&bytes(INVALID), "Invalid argument (os error 22)");
    let overrun = bytes(&DONE.replacen("03000200", "04000200", 1));
    check_refused(&overrun, "a part of the answer was lost");
}

#[test]
fn an_answer_to_another_request_is_passed_over() {
    for foreign in [V4, DONE, ABSENT, INVALID] {
        let mut answer = Answer::new(Family::V4, SEQUENCE + 1, LIMIT);
        assert_eq!(answer.take(&bytes(foreign)).unwrap(), State::More);
        assert_eq!(answer.told, []);
    }
}

#[test]
fn a_table_that_changed_meanwhile_is_known_by_any_message() {
    let (answer, _) = take(Family::V4, &changed(6, &[0x12, 0]));
    assert!(answer.interrupted);
    let done = DONE.replacen("03000200", "03001200", 1);
    let (answer, state) = take(Family::V4, &bytes(&done));
    assert_eq!((answer.interrupted, state.unwrap()), (true, State::Done));
}

#[test]
fn more_than_is_wanted_is_not_kept() {
    let mut answer = Answer::new(Family::V4, SEQUENCE, 2);
    assert_eq!(answer.take(&bytes(V4)).unwrap(), State::Full);
    assert_eq!(answer.told.len(), 2);
    let mut answer = Answer::new(Family::V4, SEQUENCE, 3);
    assert_eq!(answer.take(&bytes(&[V4, DONE].concat())).unwrap(), State::Done);
}

#[test]
fn a_length_that_cannot_be_is_refused() {
    let what = "a message is not as long as it says";
    // Of the message, of its first attribute, and of a message that has no room for its record.
    for length in [0_u32, 15, 373, u32::MAX] {
        check_refused(&changed(0, &length.to_le_bytes()), what);
    }
    for length in [0_u16, 3, 37, u16::MAX] {
        check_refused(&changed(88, &length.to_le_bytes()), what);
    }
    check_refused(&changed(0, &84_u32.to_le_bytes()), what);
    check_refused(&bytes("10000000030002000700000000000000"), what);
    let mut without_value = bytes(V6);
    without_value[96..98].copy_from_slice(&4_u16.to_le_bytes());
    let (_, state) = take(Family::V6, &without_value);
    assert_eq!(state.unwrap_err().to_string(), what);
}

#[test]
fn a_datagram_that_is_cut_anywhere_is_refused_and_what_came_before_is_as_it_was() {
    let whole = bytes(V4);
    let (all, _) = take(Family::V4, &whole);
    for length in 0..whole.len() {
        let (answer, state) = take(Family::V4, &whole[..length]);
        let n_whole = ENDS.iter().filter(|&&end| end != 0 && end <= length).count();
        assert_eq!(answer.told, all.told[..n_whole], "{length}");
        assert_eq!(state.is_ok(), ENDS.contains(&length), "{length}");
    }
}

#[test]
fn any_byte_may_be_any_other() {
    for (family, recorded) in [(Family::V4, V4), (Family::V6, V6), (Family::V4, DONE)] {
        let mut datagram = bytes(recorded);
        for at in 0..datagram.len() {
            let before = datagram[at];
            for byte in 0..=u8::MAX {
                datagram[at] = byte;
                let (answer, _) = take(family, &datagram);
                // A piece is taken off at each step, so this ends; what was found has its bytes.
                assert!(answer.told.len() * (HEADER + RECORD) <= datagram.len(), "{at}: {byte}");
            }
            datagram[at] = before;
        }
    }
}

#[test]
fn noise_is_no_socket_that_the_bytes_have_no_room_for() {
    // Marsaglia's xorshift: the same noise in each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let recorded = bytes(V6);
    for _ in 0..20_000 {
        let mut datagram = recorded.clone();
        for _ in 0..=next() % 8 {
            let at = usize::try_from(next() % 528).unwrap();
            datagram[at] = next().to_le_bytes()[0];
        }
        datagram.truncate(usize::try_from(next() % 529).unwrap());
        let (answer, _) = take(Family::V6, &datagram);
        assert!(answer.told.len() * (HEADER + RECORD) <= datagram.len(), "{datagram:x?}");
    }
}

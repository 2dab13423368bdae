//! Where the running kernel keeps what the kernel part reads, by the kernel's own BTF.
//!
//! A member is named by its path. A path runs through anonymous structs and unions without naming
//! them, and typedefs and qualifiers are transparent, because kernels differ there and only there.
//! Where a member has moved between kernels, the paths are tried in turn.

use std::collections::BTreeMap;

use btf_rs::{Btf, BtfType, Type};

/// How deep a path may run through types without a name before it counts as a loop.
const DEPTH: u32 = 16;

/// A member that the kernel part reads.
struct Member {
    /// The global in the kernel part that takes the offset: `merger-ebpf/src/kernel.rs`.
    global: &'static str,
    /// The struct that the offset is counted from.
    structure: &'static str,
    /// Where the member is, the newest kernel's path first.
    paths: &'static [&'static str],
    /// Whether the kernel part can do without: it then reads an offset of 0 as "absent".
    optional: bool,
}

/// The value of one global.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The name of the global in the kernel part.
    pub global: &'static str,
    /// In bytes from the start of the struct; 0 where this kernel has no such member.
    pub bytes: u32,
}

/// A member that the kernel part cannot do without, and that this kernel's BTF does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel's BTF has no member {} in struct {structure}", paths.join(" or "))]
pub struct Missing {
    structure: &'static str,
    paths: &'static [&'static str],
}

const MEMBERS: &[Member] = &[
    member("SOCK_NET", "sock", &["__sk_common.skc_net.net"]),
    member("SOCK_NUM", "sock", &["__sk_common.skc_num"]),
    member("SOCK_FAMILY", "sock", &["__sk_common.skc_family"]),
    member("SOCK_STATE", "sock", &["__sk_common.skc_state"]),
    member("SOCK_PROTOCOL", "sock", &["sk_protocol"]),
    member("SOCK_ADDRESS_V4", "sock", &["__sk_common.skc_rcv_saddr"]),
    // Absent where IPv6 is configured out; no socket has that family then.
    optional("SOCK_ADDRESS_V6", "sock", &["__sk_common.skc_v6_rcv_saddr"]),
    optional("NET_COOKIE", "net", &["net_cookie"]),
    member("NET_INUM", "net", &["ns.inum"]),
    member("SOCKET_SK", "socket", &["sk"]),
    member("TASK_TGID", "task_struct", &["tgid"]),
    member("TASK_LEADER", "task_struct", &["group_leader"]),
    // Named `real_start_time` below 5.5.
    member("TASK_STARTED", "task_struct", &["start_boottime", "real_start_time"]),
    member("FILE_INODE", "file", &["f_inode"]),
    member("INODE_NUMBER", "inode", &["i_ino"]),
];

const fn member(
    global: &'static str,
    structure: &'static str,
    paths: &'static [&'static str],
) -> Member {
    Member { global, structure, paths, optional: false }
}

const fn optional(
    global: &'static str,
    structure: &'static str,
    paths: &'static [&'static str],
) -> Member {
    Member { global, structure, paths, optional: true }
}

/// All that the kernel part wants to know of a kernel.
pub fn resolve(btf: &Btf) -> Result<Vec<Offset>, Missing> {
    // A name is looked for among all types there are, a hundred thousand.
    let mut structures = BTreeMap::new();
    MEMBERS
        .iter()
        .map(|&Member { global, structure, paths, optional }| {
            let start = structures.entry(structure).or_insert_with(|| structure_of(btf, structure));
            let start = start.as_ref();
            match paths.iter().find_map(|path| offset_in(btf, start?, path)) {
                Some(bytes) => Ok(Offset { global, bytes }),
                None if optional => Ok(Offset { global, bytes: 0 }),
                None => Err(Missing { structure, paths }),
            }
        })
        .collect()
}

/// The offset in bytes of a member such as `__sk_common.skc_net.net` in a struct.
#[must_use]
pub fn offset_of(btf: &Btf, structure: &str, path: &str) -> Option<u32> {
    offset_in(btf, &structure_of(btf, structure)?, path)
}

fn structure_of(btf: &Btf, name: &str) -> Option<Type> {
    let types = btf.resolve_types_by_name(name).ok()?;
    types.into_iter().find(|found| matches!(found, Type::Struct(_)))
}

fn offset_in(btf: &Btf, start: &Type, path: &str) -> Option<u32> {
    let end = path.split('.').try_fold((start.clone(), 0), |(outer, bits), name| {
        let (inner, offset) = find(btf, &outer, name, DEPTH)?;
        Some((inner, bits + offset))
    });
    // A bit field has no address, so no program could read it.
    end.filter(|(_, bits)| bits % 8 == 0).map(|(_, bits)| bits / 8)
}

/// The type of a member and its offset in bits, looked for through members without a name.
fn find(btf: &Btf, outer: &Type, name: &str, depth: u32) -> Option<(Type, u32)> {
    let (Type::Struct(outer) | Type::Union(outer)) = outer else { return None };
    let depth = depth.checked_sub(1)?;
    outer.members.iter().find_map(|member| {
        let found = btf.resolve_name(member).ok()?;
        if found != name && !found.is_empty() {
            return None;
        }
        let inner = unqualified(btf, member)?;
        if found == name {
            return Some((inner, member.bit_offset()));
        }
        let (inner, offset) = find(btf, &inner, name, depth)?;
        Some((inner, member.bit_offset() + offset))
    })
}

/// The type of a member without typedefs, qualifiers and tags.
fn unqualified(btf: &Btf, member: &dyn BtfType) -> Option<Type> {
    let mut found = btf.resolve_chained_type(member).ok()?;
    for _ in 0..DEPTH {
        found = match found {
            Type::Typedef(inner) => btf.resolve_chained_type(&inner).ok()?,
            Type::Volatile(inner) | Type::Const(inner) | Type::Restrict(inner) => {
                btf.resolve_chained_type(&inner).ok()?
            }
            Type::TypeTag(inner) => btf.resolve_chained_type(&inner).ok()?,
            other => return Some(other),
        };
    }
    None
}

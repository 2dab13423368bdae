//! A kernel that lacks something: system calls that fail from now on, by a seccomp filter.
#![expect(unsafe_code, reason = "prctl takes a pointer to the filter")]

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// One kind of call: its number, and the low halves of arguments by which it is told from others.
pub(crate) struct Call {
    pub(crate) number: libc::c_long,
    pub(crate) arguments: &'static [(u32, libc::c_int)],
}

/// Makes these calls fail with `EPROTONOSUPPORT`, in this thread and in those that it starts: to be
/// called in a program that ends with the test.
pub(crate) fn refuse(calls: &[Call]) {
    let mut filter: Vec<sock_filter> = calls.iter().flat_map(instructions).collect();
    filter.push(instruction(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    let length = filter.len().try_into().expect("a filter of a few calls is short");
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to `length` instructions, which the kernel copies.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Compares the number and each argument, and leads past the refusal where one is another. They are
/// at 0 and from 16 on, eight bytes each, in `seccomp_data`.
fn instructions(call: &Call) -> Vec<sock_filter> {
    let number = (0, u32::try_from(call.number).expect("numbers of calls are small"));
    let arguments = call.arguments.iter().map(|&(n, value)| (16 + 8 * n, value.cast_unsigned()));
    let compared: Vec<(u32, u32)> = [number].into_iter().chain(arguments).collect();
    let mut filter = vec![];
    for (n, &(offset, value)) in compared.iter().enumerate() {
        // To the end: the comparisons that are left, two instructions each, and the refusal.
        let past = 2 * (compared.len() - n - 1) + 1;
        filter.push(instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0));
        filter.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, value, past));
    }
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT.cast_unsigned();
    filter.push(instruction(BPF_RET | BPF_K, refusal, 0));
    filter
}

fn instruction(code: u32, k: u32, past: usize) -> sock_filter {
    let code = code.try_into().expect("codes have 16 bits");
    let jf = past.try_into().expect("a filter of a few calls is short");
    sock_filter { code, jt: 0, jf, k }
}

//! Namespaces of the process: a network of its own, for vpcd's ports, and a `/run` of its own.

use std::ffi::CString;
use std::io;

fn check(result: libc::c_int, what: &str) -> io::Result<()> {
    if result == -1 {
        let error = io::Error::last_os_error();
        return Err(io::Error::new(error.kind(), format!("{what}: {error}")));
    }
    Ok(())
}

/// Enters them; `pcscd`, in the working directory, becomes `/run/pcscd`. To be called before there
/// are threads.
pub fn enter() -> io::Result<()> {
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let mut flags = libc::CLONE_NEWNET | libc::CLONE_NEWNS;
    if user != 0 {
        flags |= libc::CLONE_NEWUSER;
    }
    check(unsafe { libc::unshare(flags) }, "unshare")?;
    if user != 0 {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE)?;
    // Without the package's directory, which need not be there before pcscd has been started.
    mount("tmpfs", "/run", "tmpfs", 0)?;
    std::fs::create_dir("/run/pcscd")?;
    mount("pcscd", "/run/pcscd", "", libc::MS_BIND)?;
    raise_loopback()
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let c = |text: &str| CString::new(text).expect("no zero in it");
    let (from, at, kind) = (c(source), c(target), c(kind));
    let mounted = unsafe {
        libc::mount(
            from.as_ptr(),
            at.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    };
    check(mounted, &format!("mount on {target}"))
}

fn raise_loopback() -> io::Result<()> {
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(socket, "socket")?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let raised = check(
            libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request),
            "SIOCSIFFLAGS",
        );
        libc::close(socket);
        raised
    }
}

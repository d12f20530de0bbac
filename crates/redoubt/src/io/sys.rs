//! Calls to the operating system that the safe crates don't cover.

/// Broken-down local time.
#[derive(Clone, Copy, Debug)]
pub struct LocalTime {
    /// Year.
    pub year: i32,
    /// Month, 0 = January.
    pub month: u8,
    /// Day of the month.
    pub day: u8,
    /// Hour.
    pub hour: u8,
    /// Minute.
    pub minute: u8,
    /// Second.
    pub second: u8,
}

/// Local time of Unix seconds.
pub fn local_tm(secs: i64) -> LocalTime {
    let time: libc::time_t = secs;
    // SAFETY: `tm` is plain data; all zeroes is a valid value of it.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals; localtime_r writes `tm` only.
    unsafe { libc::localtime_r(&raw const time, &raw mut tm) };
    LocalTime {
        year: tm.tm_year + 1900,
        month: tm.tm_mon as u8,
        day: tm.tm_mday as u8,
        hour: tm.tm_hour as u8,
        minute: tm.tm_min as u8,
        second: tm.tm_sec as u8,
    }
}

/// The system's monotonic clock, microseconds. `Instant` costs twice as much, and this is read
/// after every command.
#[inline]
pub fn monotonic_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live local that clock_gettime fills; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// CPU seconds (system, user) of the process, or of the calling thread.
pub fn cpu_seconds(thread: bool) -> (f64, f64) {
    // SAFETY: `rusage` is plain data; all zeroes is a valid value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let who = if thread { libc::RUSAGE_THREAD } else { libc::RUSAGE_SELF };
    // SAFETY: the pointer is to a live local that getrusage fills.
    unsafe { libc::getrusage(who, &raw mut usage) };
    let secs = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    (secs(usage.ru_stime), secs(usage.ru_utime))
}

/// Raises the limit of open files to `wanted` as far as allowed; returns what is in force.
pub fn raise_open_files(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live local that getrlimit fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1024;
    }
    if limit.rlim_cur >= wanted {
        return limit.rlim_cur;
    }
    let mut raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
    // SAFETY: the pointer is to a live local that setrlimit reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
        return wanted;
    }
    raised = libc::rlimit { rlim_cur: limit.rlim_max.min(wanted), rlim_max: limit.rlim_max };
    // SAFETY: as above.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
        raised.rlim_cur
    } else {
        limit.rlim_cur
    }
}

/// The signal of `abort`.
pub const SIGABRT: i32 = libc::SIGABRT;
/// What [`on_crash_signals`] runs.
static CRASH_REPORT: std::sync::OnceLock<fn(i32, usize)> = std::sync::OnceLock::new();
/// Seconds after which a report that got stuck is given up, and the process with it.
const REPORT_SECS: u32 = 5;

/// Runs `report` with the signal and the address when the processor or `abort` ends this process;
/// then the signal takes its usual course.
pub fn on_crash_signals(report: fn(i32, usize)) {
    if CRASH_REPORT.set(report).is_err() {
        return;
    }
    // SAFETY: `sigaction` is plain data; all zeroes is a valid value of it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = handle_crash;
    action.sa_sigaction = handler as usize;
    // The usual course is back before the handler runs, so a second signal ends the process.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_NODEFER | libc::SA_ONSTACK;
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT] {
        // SAFETY: `action` is whole, and its handler has the form that SA_SIGINFO promises.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

extern "C" fn handle_crash(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: alarm has no memory effects. Its signal ends a process that has no handler for it.
    unsafe { libc::alarm(REPORT_SECS) };
    // SAFETY: the kernel gives a handler of this form a whole `siginfo_t`.
    let address = if info.is_null() { 0 } else { unsafe { (*info).si_addr() as usize } };
    if let Some(report) = CRASH_REPORT.get() {
        report(signal, address);
    }
    // SAFETY: raise may be called in a handler; the signal's usual course is to end the process.
    unsafe { libc::raise(signal) };
}

/// Gives the calling thread a stack for signal handlers that a report fits on. It is never freed.
pub fn large_signal_stack() {
    const BYTES: usize = 256 * 1024;
    let stack = Vec::<u8>::with_capacity(BYTES).leak().as_mut_ptr();
    let stack = libc::stack_t { ss_sp: stack.cast(), ss_flags: 0, ss_size: BYTES };
    // SAFETY: the memory is this thread's for ever, and nothing else uses it.
    unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
}

/// Ends the calling thread as a wild pointer would.
pub fn segfault() {
    // SAFETY: raise has no memory effects.
    unsafe { libc::raise(libc::SIGSEGV) };
}

/// Goes into the background: the parent process ends here. Call it before any thread exists.
pub fn daemonize() -> std::io::Result<()> {
    // SAFETY: no other thread exists yet, so the child may go on as if nothing had happened.
    match unsafe { libc::fork() } {
        -1 => return Err(std::io::Error::last_os_error()),
        0 => {}
        // SAFETY: ends the parent without running its exit handlers, which are the child's now.
        _ => unsafe { libc::_exit(0) },
    }
    // SAFETY: setsid has no memory effects.
    unsafe { libc::setsid() };
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for fd in 0..3 {
        // SAFETY: `null` is open for the whole loop; dup2 replaces descriptors 0 to 2 with it.
        unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), fd) };
    }
    Ok(())
}

/// Asks the scheduler for short slices for the calling thread, so that it gets a core at once when a
/// request arrives, also from a thread that computes (a snapshot, a replica that loads on the same
/// machine). Kernels before 6.12 take no notice.
pub fn ask_for_short_slices() {
    const SLICE_NS: u64 = 300_000;
    // `struct sched_attr` of version 0, policy SCHED_OTHER; nice stays as it is.
    #[repr(C)]
    #[derive(Default)]
    struct SchedAttr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
    }
    let mut attr = SchedAttr::default();
    let size = std::mem::size_of::<SchedAttr>() as u32;
    // SAFETY: both calls get a live structure of the size that they are told; thread 0 is the
    // caller. A failure leaves the thread as it was.
    unsafe {
        let got = libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0);
        if got == 0 && attr.policy == 0 {
            attr.runtime_ns = SLICE_NS;
            libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0);
        }
    }
}

/// Nanoseconds that the calling thread has run, and that it wanted to run and no core was free.
/// Zeroes where the kernel keeps no such account.
pub fn time_on_and_off_cores() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut words = text.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0));
    (words.next().unwrap_or(0), words.next().unwrap_or(0))
}

/// The operating system's words for an error, without the number that Rust adds.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

/// Bytes of a memory page.
pub fn page_size() -> u64 {
    // SAFETY: sysconf has no memory effects.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Words of `uname`: system, release, machine.
pub fn uname() -> String {
    let name = rustix::system::uname();
    format!(
        "{} {} {}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        name.machine().to_string_lossy()
    )
}

/// Closes on exec whatever descriptors this process was started with, besides the three standard
/// ones; those that it opens itself are so from the start.
pub fn keep_descriptors_private() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let names =
        entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
    for fd in names.filter_map(|name| name.parse::<i32>().ok()).filter(|&fd| fd > 2) {
        // SAFETY: F_SETFD has no memory effects; on a descriptor that is closed by now it just fails.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

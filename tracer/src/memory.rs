//! Memory: who hands it out, and that what was needed for a while is given back.

/// A static program's C library (musl) hands memory out slowly, and gives little back.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has what a burst took given back when it is over, and not kept for the next one. Before any other thread is there.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: calls without memory of ours.
    unsafe {
        const KEPT: libc::c_int = 128 << 10;
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
    }
}

/// Gives back what is free.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without memory of ours.
    unsafe {
        libc::malloc_trim(0);
    }
    #[cfg(target_env = "musl")]
    // SAFETY: the same.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Lets go of the program's own pages, and of its libraries': most were needed to start and are not needed again. What
/// is comes back from the page cache.
pub fn let_go_of_program() {
    // SAFETY: the function below looks at what it is given, as long as it is called.
    unsafe {
        libc::dl_iterate_phdr(Some(let_go), std::ptr::null_mut());
    }
}

/// Of one program or library, what is mapped from its file and never written to.
unsafe extern "C" fn let_go(info: *mut libc::dl_phdr_info, _: libc::size_t, _: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the loader gives one that is filled in, with as many headers as it says.
    let (base, headers) =
        unsafe { ((*info).dlpi_addr, std::slice::from_raw_parts((*info).dlpi_phdr, usize::from((*info).dlpi_phnum))) };
    let page = rustix::param::page_size() as u64;
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let first = (base + header.p_vaddr).next_multiple_of(page);
        let end = (base + header.p_vaddr + header.p_memsz) / page * page;
        if first < end {
            // SAFETY: whole pages that nobody can have written to: they are read from the file again.
            unsafe { libc::madvise(first as *mut libc::c_void, (end - first) as usize, libc::MADV_DONTNEED) };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_goes_on_without_the_pages_that_it_let_go() {
        let before = crate::process::usage().expect("this process").resident;
        let_go_of_program();
        let after = crate::process::usage().expect("this process").resident;
        assert!(after < before, "{before} {after}");
    }
}

//! What cargo runs before it compiles cgtrace: with the feature `programs`, the build of the kernel programs, and nothing without it.

#[cfg(feature = "programs")]
mod programs;

fn main() -> anyhow::Result<()> {
    println!("cargo:rustc-check-cfg=cfg(bpf_built)");
    #[cfg(feature = "programs")]
    programs::build_if_possible()?;
    Ok(())
}

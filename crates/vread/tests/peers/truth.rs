//! Types and symbols, wholesale.

use std::collections::BTreeSet;
use std::fs;

use vread_guests::{Guest, KernelRelease, ensure_debug_files};
use vread_layouts::{DebugFile, Disagreement};

use crate::program::{succeed, target, vread};

/// Every struct, union and enumeration has the members, places, sizes and types that the compiler gave
/// it, those of loaded modules too; none is missing; every symbol lies where the linker put it.
pub(crate) fn types_and_symbols_equal_the_real_debug_file(guest: &Guest) {
    let folder = tempfile::tempdir().unwrap();
    let recovered = folder.path().join("vmlinux");
    succeed(
        vread()
            .args(["vmlinux", &target(guest), "-o"])
            .arg(&recovered),
    );
    let real = ensure_debug_files(guest.kernel()).unwrap();
    let ours = DebugFile::read(&recovered).unwrap();
    let mut truth = DebugFile::read(real.vmlinux()).unwrap();
    let mut of_modules = 0;
    let listed = guest.read_text("/proc/modules").unwrap();
    for module in listed.lines().filter_map(|line| line.split(' ').next()) {
        let file = real.module(module);
        let file = file.unwrap_or_else(|| panic!("no debug file of {module}"));
        for (name, layouts) in DebugFile::read(&file).unwrap().types {
            if !truth.types.contains_key(&name) && ours.types.contains_key(&name) {
                of_modules += 1;
            }
            truth.types.entry(name).or_default().extend(layouts);
        }
    }
    let types = Disagreement::between(&ours.types, &truth.types);
    println!(
        "{} of {} bytes, the real one of {}; types: {types}",
        guest.kernel().uname(),
        fs::metadata(&recovered).unwrap().len(),
        fs::metadata(real.vmlinux()).unwrap().len(),
    );
    // Until 6.1's, BTF kept the lower half of every enumeration's value: the rest is in no memory.
    let is_halved = |said: &&String| {
        guest.kernel().release() == KernelRelease::V5_10
            && said.starts_with("enum ")
            && said.contains(": 8 bytes\n")
    };
    let (halved, different): (Vec<_>, Vec<_>) = types.different.iter().partition(is_halved);
    println!(
        "{} enumerations of 64 bits are halved in the kernel's own BTF",
        halved.len()
    );
    assert!(halved.len() <= 3, "{halved:?}");
    assert!(different.is_empty(), "{different:?}");
    assert!(types.unknown.is_empty(), "made up: {:?}", types.unknown);
    println!("{of_modules} types that only modules have");
    assert_eq!(
        of_modules > 0,
        guest.kernel().release() != KernelRelease::V5_10
    );
    assert!(types.equal > 5000, "too few types to be a kernel's");

    // What the kernel itself says it has added to its image: modules and generated code.
    let kallsyms = guest.read_text("/proc/kallsyms").unwrap();
    let added: BTreeSet<&str> = kallsyms
        .lines()
        .filter(|line| line.contains('\t'))
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    let symbols = Disagreement::between_symbols(&ours.symbols, &truth.symbols);
    println!("symbols: {symbols}");
    let of_image = |said: &&String| {
        let name = said.split(':').next().unwrap_or_default();
        !added.contains(name)
    };
    let different: Vec<&String> = symbols.different.iter().filter(of_image).collect();
    assert!(different.is_empty(), "{different:?}");
    let unknown: Vec<&String> = symbols.unknown.iter().filter(of_image).collect();
    assert!(unknown.is_empty(), "made up: {unknown:?}");
    assert!(symbols.equal > 50_000, "too few symbols to be a kernel's");
}

//! Kernel modules of a package: finding them, and the order in which they can be loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object as _, ObjectSection as _};

use crate::error::GuestError;
use crate::kernel::Kernel;
use crate::program;

/// A module as the kernel loads it.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// Its name in `/proc/modules`.
    pub(crate) name: String,
    /// Its ELF image, no longer compressed.
    pub(crate) image: Vec<u8>,
}

/// Images of the modules called `wanted` and of all they depend on, in an order that loads.
///
/// A module that is built into the kernel needs no image and is left out.
pub(crate) fn in_load_order(kernel: &Kernel, wanted: &[String]) -> Result<Vec<Module>, GuestError> {
    let folder = kernel.modules();
    let files = files(&folder.join("kernel"))?;
    let built_in = folder.join("modules.builtin");
    let built_in = fs::read_to_string(&built_in).map_err(GuestError::file(&built_in))?;
    let built_in: Vec<String> = built_in
        .lines()
        .map(|line| name_of(Path::new(line)))
        .collect();

    // A module goes on the list when all below it in the stack are on it. One that comes up again
    // while it is still in the stack is not waited for, so a cycle ends.
    let mut ordered: Vec<Module> = Vec::new();
    let mut images: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut stack: Vec<String> = wanted
        .iter()
        .rev()
        .map(|name| name.replace('-', "_"))
        .collect();
    while let Some(name) = stack.pop() {
        if built_in.contains(&name) || ordered.iter().any(|module| module.name == name) {
            continue;
        }
        if let Some(image) = images.remove(&name) {
            ordered.push(Module { name, image });
            continue;
        }
        let Some(file) = files.get(&name) else {
            return Err(GuestError::BadKernel {
                path: folder,
                problem: format!("there is no module {name}"),
            });
        };
        let image = read(file)?;
        let depends = depends(file, &image)?;
        images.insert(name.clone(), image);
        stack.push(name);
        stack.extend(
            depends
                .into_iter()
                .filter(|name| !images.contains_key(name)),
        );
    }
    Ok(ordered)
}

/// All module files below `folder`, by module name.
fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, GuestError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(GuestError::file(&folder))? {
            let entry = entry.map_err(GuestError::file(&folder))?;
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if entry.file_name().to_string_lossy().contains(".ko") {
                found.insert(name_of(&path), path);
            }
        }
    }
    Ok(found)
}

/// `net/sched/sch-prio.ko.xz` is the module `sch_prio`.
fn name_of(file: &Path) -> String {
    let file = file.file_name().unwrap_or_default().to_string_lossy();
    let name = file.split_once(".ko").map_or(&*file, |(name, _)| name);
    name.replace('-', "_")
}

fn read(file: &Path) -> Result<Vec<u8>, GuestError> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(file).map_err(GuestError::file(file)),
        Some("xz") => program::output(Command::new("xz").args(["-dc", "--"]).arg(file)),
        _ => Err(GuestError::BadKernel {
            path: file.to_owned(),
            problem: "a module in a compression that is not known here".to_owned(),
        }),
    }
}

/// What the module says it needs: `depends=a,b` among the NUL-terminated strings of `.modinfo`.
fn depends(file: &Path, image: &[u8]) -> Result<Vec<String>, GuestError> {
    let bad = |problem: String| GuestError::BadKernel {
        path: file.to_owned(),
        problem,
    };
    let elf = object::File::parse(image).map_err(|error| bad(error.to_string()))?;
    let section = elf.section_by_name(".modinfo");
    let section = section.ok_or_else(|| bad("it has no section .modinfo".to_owned()))?;
    let strings = section.data().map_err(|error| bad(error.to_string()))?;
    let depends = strings
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="));
    let depends = String::from_utf8_lossy(depends.unwrap_or_default()).replace('-', "_");
    Ok(depends
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_as_proc_modules_names_it() {
        assert_eq!(
            name_of(Path::new("kernel/net/sched/sch-prio.ko.xz")),
            "sch_prio"
        );
        assert_eq!(name_of(Path::new("virtio_ring.ko")), "virtio_ring");
    }
}

//! `vread vmlinux`

use std::io::Write as _;

use anyhow::Context as _;
use vread_targets::Target;
use vread_vmlinux::{AddressForm, Vmlinux, VmlinuxError};

use crate::{Outcome, arguments::VmlinuxArguments, output_file::OutputFile, printable::Printable};

pub(crate) fn run(target: &Target, arguments: &VmlinuxArguments) -> anyhow::Result<Outcome> {
    let form = match arguments.runtime_addresses {
        true => AddressForm::RunTime,
        false => AddressForm::LinkTime,
    };
    let kernel = target.ask_kernel(Ok)?;
    let vmlinux = Vmlinux::recover(kernel)?;
    let mut file = OutputFile::create(&arguments.output)?;
    let warnings = match vmlinux.write(form, &mut file) {
        Ok(warnings) => warnings,
        Err(VmlinuxError::Write(error)) => return Err(error).context(file.trouble()),
        Err(error) => return Err(error.into()),
    };
    file.flush().with_context(|| file.trouble())?;
    file.finish()?;
    for warning in &warnings {
        tell!("vread: {}", Printable(&warning.to_string()));
    }
    Ok(match warnings.is_empty() {
        true => Outcome::All,
        false => Outcome::SomeMissing,
    })
}

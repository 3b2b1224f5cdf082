//! Puts the dashboard into the binary: the page in `dashboard/page`, and what it needs of others, which npm fetches.
//!
//! ```text
//!   dashboard/page/*  ──────────────────────────────┐
//!   dashboard/package-lock.json ─ npm ci ─▶ modules ─┴─▶ each file, plain and gzipped, with its hash ─▶ OUT_DIR/assets.rs
//! ```
//!
//! The lock has the hash of each package, so that every build has the same bytes in it. `WEIR_DASHBOARD_MODULES` names a
//! `node_modules` folder that is there already, for builds without a network.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MODULES: &str = "WEIR_DASHBOARD_MODULES";

/// What is served of others: the path that it gets, and its file in `node_modules`.
const THIRD_PARTY: [(&str, &str); 4] = [
    ("/assets/uplot.js", "uplot/dist/uPlot.esm.js"),
    ("/assets/uplot.css", "uplot/dist/uPlot.min.css"),
    ("/assets/swagger-ui.js", "swagger-ui-dist/swagger-ui-bundle.js"),
    ("/assets/swagger-ui.css", "swagger-ui-dist/swagger-ui.css"),
];

fn main() {
    if let Err(error) = embed() {
        eprintln!("the dashboard could not be put into the binary: {error}");
        std::process::exit(1);
    }
}

fn embed() -> Result<()> {
    let source = Path::new("dashboard");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in ["page", "package.json", "package-lock.json"] {
        println!("cargo::rerun-if-changed=dashboard/{watched}");
    }
    println!("cargo::rerun-if-env-changed={MODULES}");

    let modules = modules(source, &out)?;
    let mut files = page(&source.join("page"))?;
    files.extend(THIRD_PARTY.map(|(path, file)| (path.to_owned(), modules.join(file))));
    let mut list = "[\n".to_owned();
    for (path, file) in files {
        list.push_str(&asset(&path, &file, &out)?);
    }
    list.push(']');
    Ok(fs::write(out.join("assets.rs"), list)?)
}

/// Our own files, `index.html` as `/`, `docs.html` as `/docs`, the others below `/assets`.
fn page(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()).ok_or("a file name is not UTF-8")?;
        let path = match name {
            "index.html" => "/".to_owned(),
            "docs.html" => "/docs".to_owned(),
            other => format!("/assets/{other}"),
        };
        files.push((path, file));
    }
    files.sort();
    Ok(files)
}

/// The folder `node_modules`, filled if it is not, or not by this lock.
fn modules(source: &Path, out: &Path) -> Result<PathBuf> {
    if let Some(folder) = env::var_os(MODULES) {
        return Ok(folder.into());
    }
    let folder = out.join("modules");
    let (lock, filled_by) = (source.join("package-lock.json"), folder.join("filled-by.json"));
    if fs::read(&filled_by).ok() != Some(fs::read(&lock)?) {
        fs::create_dir_all(&folder)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(source.join(name), folder.join(name))?;
        }
        npm_ci(&folder)?;
        fs::copy(lock, filled_by)?;
    }
    Ok(folder.join("node_modules"))
}

fn npm_ci(folder: &Path) -> Result<()> {
    let hint = format!(
        "install Node.js and npm (Debian: apt-get install nodejs npm), or set {MODULES} to a node_modules folder that \
         `npm ci --ignore-scripts` made from jobs/dashboard/package-lock.json"
    );
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
        .current_dir(folder)
        .output()
        .map_err(|error| format!("npm does not run ({error}); {hint}"))?;
    if npm.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&npm.stderr);
    Err(format!("npm ci failed in {}: {}\nwithout a network, {hint}", folder.display(), said.trim()).into())
}

/// One entry of the list, with the gzipped file written beside it.
fn asset(path: &str, file: &Path, out: &Path) -> Result<String> {
    let plain = fs::canonicalize(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let bytes = fs::read(&plain)?;
    let hash: String = Sha256::digest(&bytes)[..12].iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let gzip = out.join(format!("{hash}.gz"));
    let mut encoder = GzEncoder::new(fs::File::create(&gzip)?, Compression::best());
    encoder.write_all(&bytes)?;
    encoder.finish()?;
    let media_type = media_type(&plain)?;
    Ok(format!(
        "    Asset {{ path: {path:?}, media_type: {media_type:?}, etag: \"\\\"{hash}\\\"\", \
         gzip_etag: \"\\\"{hash}-gzip\\\"\", plain: include_bytes!({plain:?}), gzip: include_bytes!({gzip:?}) }},\n"
    ))
}

fn media_type(file: &Path) -> Result<&'static str> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => Ok("text/html; charset=utf-8"),
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("svg") => Ok("image/svg+xml"),
        _ => Err(format!("{}: no media type is known for this kind of file", file.display()).into()),
    }
}

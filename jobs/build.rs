//! Fetches what the dashboard needs of others, with npm, for `src/dashboard/assets.rs` to put into the binary.
//!
//! ```text
//!   dashboard/package-lock.json ─ npm ci ─▶ OUT_DIR/modules/node_modules ─▶ OUT_DIR/{uplot,swagger-ui}.{js,css}
//!                             └───────────────────────────────────────────▶ OUT_DIR/package-lock.json
//! ```
//!
//! The lock has the hash of each package, so that every build has the same bytes in it. `WEIR_DASHBOARD_MODULES` names a
//! `node_modules` folder that is there already, for builds without a network.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MODULES: &str = "WEIR_DASHBOARD_MODULES";

/// What is embedded of others: its file in `node_modules`, and its name for the crate.
const THIRD_PARTY: [(&str, &str); 4] = [
    ("uplot/dist/uPlot.esm.js", "uplot.js"),
    ("uplot/dist/uPlot.min.css", "uplot.css"),
    ("swagger-ui-dist/swagger-ui-bundle.js", "swagger-ui.js"),
    ("swagger-ui-dist/swagger-ui.css", "swagger-ui.css"),
];

fn main() {
    if let Err(error) = fetch() {
        eprintln!("the dashboard's parts could not be fetched: {error}");
        std::process::exit(1);
    }
}

fn fetch() -> Result<()> {
    let source = Path::new("dashboard");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in ["package.json", "package-lock.json"] {
        println!("cargo::rerun-if-changed=dashboard/{watched}");
    }
    println!("cargo::rerun-if-env-changed={MODULES}");

    let modules = modules(source, &out)?;
    for (file, name) in THIRD_PARTY {
        let file = modules.join(file);
        fs::copy(&file, out.join(name)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    fs::copy(source.join("package-lock.json"), out.join("package-lock.json"))?;
    Ok(())
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

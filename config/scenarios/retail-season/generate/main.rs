//! Writes the data of the pack anew: `cargo run --example generate_history`. The same bytes every time.

mod history;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios/retail-season/data");
    std::fs::create_dir_all(&data)?;
    for (name, text) in history::files() {
        std::fs::write(data.join(name), text)?;
        println!("{}", data.join(name).display());
    }
    Ok(())
}

//! Tests in namespaces of their own: what they mount, and their addresses, exist only there.
//!
//! Such a test is two: the outer one makes the namespaces and runs the inner one in them, which is `#[ignore]`d everywhere
//! else. That takes root, or user namespaces that need no privileges, as on Debian.

use std::{os::unix::fs::MetadataExt, process::Command};

/// What says that the inner test runs where it should.
const INSIDE: &str = "GRAPNEL_TEST_INSIDE";

/// Runs the test `name` of this binary in namespaces (`unshare`'s options) that `script` has prepared; it takes the commands
/// that `needs` names.
pub fn inside(name: &str, namespaces: &[&str], script: &str, needs: &str) {
    let mut command = Command::new("unshare");
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        command.arg("--map-root-user");
    }
    let output = command
        .args(namespaces)
        .args(["sh", "-c", &format!("set -e\n{script}\nexec \"$@\"\n"), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .expect("unshare is needed (Debian: apt-get install util-linux)");
    let printed = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{name} failed in namespaces of its own. It takes {needs} and the right to make namespaces (root with \
         CAP_SYS_ADMIN, or kernel.unprivileged_userns_clone=1). It printed:\n{printed}"
    );
}

/// Fails where [`inside`] has not been.
pub fn assert_inside() {
    assert!(std::env::var_os(INSIDE).is_some(), "the test beside this one runs it, in namespaces of its own");
}

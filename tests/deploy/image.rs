//! What the container image has in it, laid out as its Dockerfile does, runs there and needs nothing more.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use tempfile::TempDir;

use super::tools;

#[test]
fn the_root_of_the_image_has_all_that_the_binary_needs() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("root");
    let script = tools::deploy().join("image-root.sh");
    let output = Command::new("bash").arg(&script).arg(env!("CARGO_BIN_EXE_tidegate")).arg(&root).output().unwrap();
    assert!(output.status.success(), "{}", tools::text(&output));
    assert!(fs::metadata(root.join("etc/passwd")).unwrap().is_file());
    for shell in ["bin/sh", "usr/bin/sh", "bin/busybox"] {
        assert!(!root.join(shell).exists(), "{shell}");
    }
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        let _ = writeln!(std::io::stderr(), "cannot run: the image's root as a root of its own; only root may chroot");
        return;
    }
    // As nobody in particular, and with nothing of this machine: what is missing shows here.
    let mut manifests = tempfile::NamedTempFile::new_in(&root).unwrap();
    let text = fs::read_to_string(tools::deploy().join("examples/01-celery-worker.yaml")).unwrap();
    manifests.write_all(text.as_bytes()).unwrap();
    let inside = format!("/{}", manifests.path().file_name().unwrap().to_string_lossy());
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    for path in [folder.path(), &root] {
        fs::set_permissions(path, fs::Permissions::clone(&readable)).unwrap();
    }
    fs::set_permissions(manifests.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let in_there = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("--userspec=65532:65532").arg(&root);
        command.arg("/usr/bin/tidegate").args(arguments).output().unwrap()
    };
    let output = in_there(&["--version"]);
    assert!(output.status.success(), "{}", tools::text(&output));
    let output = in_there(&["check", "-f", &inside]);
    assert!(output.status.success(), "{}", tools::text(&output));
    assert!(tools::text(&output).contains("celery-worker"));
}

#[test]
fn the_dockerfile_ends_with_nobody_and_no_shell() {
    let text = fs::read_to_string(tools::deploy().join("Dockerfile")).unwrap();
    let (_, last) = text.rsplit_once("\nFROM ").unwrap();
    assert!(last.starts_with("scratch\n"), "{last}");
    let user = last.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert_eq!(user, "65532:65532");
    let deployment = fs::read_to_string(tools::deploy().join("tidegate/workload/deployment.yaml")).unwrap();
    assert!(deployment.contains("runAsUser: 65532"));
    assert!(last.contains("ENTRYPOINT [\"/usr/bin/tidegate\"]") && deployment.contains("args: [run]"));
}

#!/bin/sh
# Cargo calls this in place of rustc for the crates of this workspace (RUSTC_WORKSPACE_WRAPPER), so that they, and only
# they, tell the fuzzer which of their branches an input takes. Everything else is shared with the ordinary build.
rustc=$1
shift
case " $* " in
  *" --crate-name build_script_build "* | *" --crate-type proc-macro "*) exec "$rustc" "$@" ;;
esac
exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0

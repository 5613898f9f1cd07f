# shellcheck shell=bash
make_box() { die "not yet"; }

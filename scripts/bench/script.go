package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/volsnap/volsnap/internal/command"
)

// What an operator writes: the three commands, with the times at which they began and ended. $CONTAINERS, $SOURCES and $TO
// are given. EPOCHREALTIME is bash's own clock, which starts no process.
const (
	scriptHead = `set -euo pipefail
say() { echo "$1 $EPOCHREALTIME"; }
snapshot() { for s in $SOURCES; do btrfs subvolume snapshot -r "$s" "$TO/${s##*/}" >/dev/null; done; }
each() { local p=; for c in $CONTAINERS; do docker "$1" "$c" >/dev/null & p="$p $!"; done; for q in $p; do wait "$q"; done; }
`
	scriptPlain = scriptHead + `
say begin;  for c in $CONTAINERS; do docker pause "$c" >/dev/null; done
say frozen; snapshot
say taken;  for c in $CONTAINERS; do docker unpause "$c" >/dev/null; done
say end
`
	scriptParallel = scriptHead + `
say begin;  each pause
say frozen; snapshot
say taken;  each unpause
say end
`
	// The best that a script can do: one process of docker for all containers, which it handles in parallel, and nothing
	// dirty to begin with.
	scriptOne = scriptHead + `
sync -f "$TO"
say begin;  docker pause $CONTAINERS >/dev/null
say frozen; snapshot
say taken;  docker unpause $CONTAINERS >/dev/null
say end
`
)

// runScript runs one of them, and reads when it did what.
func runScript(ctx context.Context, script string, env []string) (window, error) {
	out, err := command.Run(ctx, command.Cmd{Argv: []string{"bash", "-c", script}, Env: env})
	if err != nil {
		return window{}, err
	}
	var w window
	at := map[string]*time.Time{"begin": &w.Begin, "frozen": &w.Frozen, "taken": &w.Taken, "end": &w.End}
	for line := range strings.Lines(string(out.Stdout)) {
		word, stamp, _ := strings.Cut(strings.TrimSpace(line), " ")
		t, known := at[word]
		micros, err := strconv.ParseInt(strings.ReplaceAll(stamp, ".", ""), 10, 64)
		if !known || err != nil {
			return window{}, fmt.Errorf("the script said %q", line)
		}
		*t = time.UnixMicro(micros)
		delete(at, word)
	}
	if len(at) > 0 {
		return window{}, fmt.Errorf("the script said only %q", out.Stdout)
	}
	return w, nil
}

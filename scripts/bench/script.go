package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/volsnap/volsnap/internal/command"
)

// What an operator writes: the three commands, with the times at which they began and ended. $CONTAINERS, $SOURCES, $VOLUMES
// (where the sources are seen), $TO and $TAG are given. EPOCHREALTIME is bash's own clock, which starts no process. The
// storage adds the function "snapshot".
const (
	scriptHead = `set -euo pipefail
say() { echo "$1 $EPOCHREALTIME"; }
each() { local p=; for c in $CONTAINERS; do docker "$1" "$c" >/dev/null & p="$p $!"; done; for q in $p; do wait "$q"; done; }
`
	scriptPlain = `
say begin;  for c in $CONTAINERS; do docker pause "$c" >/dev/null; done
say frozen; snapshot
say taken;  for c in $CONTAINERS; do docker unpause "$c" >/dev/null; done
say end
`
	scriptParallel = `
say begin;  each pause
say frozen; snapshot
say taken;  each unpause
say end
`
	// The best that a script can do: one process of docker for all containers, which it handles in parallel, and nothing
	// dirty to begin with.
	scriptOne = `
sync -f $VOLUMES
say begin;  docker pause $CONTAINERS >/dev/null
say frozen; snapshot
say taken;  docker unpause $CONTAINERS >/dev/null
say end
`
)

// runScript runs one of them, and reads when it did what.
func runScript(ctx context.Context, on storage, script string, env []string) (window, error) {
	whole := scriptHead + "snapshot() { " + on.facts().script + "; }\n" + script
	out, err := command.Run(ctx, command.Cmd{Argv: []string{"bash", "-c", whole}, Env: env})
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

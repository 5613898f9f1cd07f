package main

import (
	"errors"
	"strings"
	"unicode"

	"github.com/volsnap/volsnap/drill"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/mounttree"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/quiesce"
	"github.com/volsnap/volsnap/restore"
)

// hints turn what callers branch on into what an operator can do. The first that fits is printed.
var hints = []struct {
	is   error
	text string
}{
	{restore.ErrUnfinished, "mend what is named, then `volsnap restore SET --in-place` again: it goes on where this one stopped. The containers that it stopped stay so until then"},
	{restore.ErrStarted, "stop what is named, and see that nothing starts it meanwhile (a timer, a deployment), then try again"},
	{restore.ErrNotStarted, "`docker logs` and `docker start` of what is named say what keeps it from running"},
	{restore.ErrDamaged, "look into the file that is named, and at the volumes; when all is as it should be, remove the file"},
	{restore.ErrOlder, "restore the whole set, or name the database's volume too"},
	{quiesce.ErrStillFrozen, "containers may still be paused (`docker ps --filter status=paused`), or a thaw command failed: mend that, then `volsnap thaw`"},
	{quiesce.ErrDamaged, "look at `docker ps --filter status=paused`, unpause what volsnap paused, then remove the journal that is named above"},
	{state.ErrLocked, "wait for the other run to end; `volsnap status` shows when the last one ended"},
	{docker.ErrUnavailable, "see that the Docker engine runs and DOCKER_HOST names its socket; an app of paths alone with `freeze: {steps: []}` needs none"},
	{engine.ErrUnlisted, "mend the storage that this names, or take it from the host; `volsnap check` lists what else is wrong"},
	{engine.ErrCareful, "look at `volsnap prune --dry-run`; when the removals are meant, `volsnap prune APP --yes`. A set that was taken while the clock was ahead goes by `volsnap delete SET`"},
	{engine.ErrUnproved, "a container ran while the set was taken: try again, or see what starts containers at this time"},
	{engine.ErrIncomplete, "`volsnap show SET` says what is wrong with it; `volsnap list` shows which sets are complete"},
	{engine.ErrNotMounted, "`volsnap umount` takes the directory that was given to `volsnap mount`; with another --run-dir then, it needs that too. What else is mounted goes by umount(8)"},
	{engine.ErrUnfit, "name an empty directory outside of the volumes, or one that is not there yet, such as /mnt/look; `volsnap umount DIR` if a set is mounted there"},
	{mounttree.ErrInUse, "end what has a file or its working directory in there (`fuser -vm DIR/*` lists it), then `volsnap umount DIR` again"},
	{engine.ErrPinned, "`volsnap unpin SET REASON` takes a pin back"},
	{engine.ErrNoSet, "`volsnap list` shows the sets there are"},
	{drill.ErrNoSet, "`volsnap list` shows the sets there are"},
	{drill.ErrFailed, "docs/drill.md says what each check finds; older sets are drilled by --set"},
	{drill.ErrLeftBy, "mend what this names; the next drill or run of the app tries again"},
	{quiesce.ErrLimit, "all containers run again; see the log for what took long, or raise freeze.limit"},
	{quiesce.ErrCheckpoint, "try it by hand: docker exec CONTAINER psql -U USER -d DATABASE -c CHECKPOINT (it needs a superuser, or pg_checkpoint)"},
	{driver.ErrNoSpace, "free space on the pool; `volsnap prune --dry-run` shows what the policy lets go"},
	{driver.ErrBusy, "something still uses a snapshot: end that (a mount, a process in it, a clone, a hold), then try again"},
	{engine.ErrRefused, "`volsnap check` lists what is wrong, each with its mend"},
}

// hinted is an error whose hint depends on what was asked for.
type hinted struct {
	error
	is   error // the hint is for this one alone
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// withHint gives err a hint in the place of the usual one, if it is of that kind.
func withHint(err, is error, hint string) error {
	if err == nil {
		return nil
	}
	return hinted{err, is, hint}
}

func hint(err error) string {
	var own hinted
	if errors.As(err, &own) && errors.Is(err, own.is) {
		return own.hint
	}
	var mounted engine.MountedError
	if errors.As(err, &mounted) {
		return "when nobody looks into it any more, `volsnap umount " + mounted.Dirs[0] + "`, then try again"
	}
	for _, h := range hints {
		if errors.Is(err, h.is) {
			return h.text
		}
	}
	return ""
}

// printable keeps names from writing control sequences to the terminal. Line breaks stay: several errors stand on lines.
func printable(err error) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, err.Error())
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put replaces a file by a text, which may name things of the host.
func put(path, text string) func(*testing.T, *badHost) {
	return func(t *testing.T, h *badHost) {
		t.Helper()
		place := h.fill(path)
		if err := os.RemoveAll(place); err != nil {
			t.Fatal(err)
		}
		h.write(t, place, text)
	}
}

func directory(path string) func(*testing.T, *badHost) {
	return func(t *testing.T, h *badHost) {
		t.Helper()
		place := h.fill(path)
		if err := os.RemoveAll(place); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(place, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func link(path, to string) func(*testing.T, *badHost) {
	return func(t *testing.T, h *badHost) {
		t.Helper()
		place := h.fill(path)
		if err := os.RemoveAll(place); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(h.fill(to), place); err != nil {
			t.Fatal(err)
		}
	}
}

const manifestFile = "$STATE/sets/$APP/$OLD.json"

// badManifests cost the detail that they held, and no set.
func badManifests() []bad {
	var cases []bad
	for what, damage := range map[string]func(*testing.T, *badHost){
		"empty":           put(manifestFile, ""),
		"truncated":       put(manifestFile, `{"id":"$OLD","app":"$A`),
		"array":           put(manifestFile, `[]`),
		"null":            put(manifestFile, `null`),
		"wrong type":      put(manifestFile, `{"id":7}`),
		"wrong pause":     put(manifestFile, `{"id":"$OLD","app":"$APP","pause_ms":"long"}`),
		"another's":       put(manifestFile, `{"id":"$NEW","app":"$APP"}`),
		"hostile id":      put(manifestFile, `{"id":"../x","app":"$APP"}`),
		"another app":     put(manifestFile, `{"id":"$OLD","app":"root"}`),
		"two documents":   put(manifestFile, `{"id":"$OLD","app":"$APP"}{}`),
		"binary":          put(manifestFile, "\x00\xff\x1b[2J"),
		"larger than any": put(manifestFile, strings.Repeat(" ", 5<<20)),
		"directory":       directory(manifestFile),
		"link":            link(manifestFile, "/etc/passwd"),
	} {
		cases = append(cases, bad{
			name: "manifest: " + what, damage: damage, args: []string{"show", "$OLD"}, says: "the manifest is lost", answer: tolerated,
		})
	}
	return append(cases,
		bad{
			name: "manifest: control characters", damage: put(manifestFile, `{"id":"$OLD","app":"$APP","label":"\u001b[2J","containers":[{"name":"\u001b]0;x\u0007"}],"checkpoints":[{"lsn":"\n"}]}`),
			args: []string{"show", "$OLD"}, says: "�[2J", answer: tolerated,
		},
		bad{
			name: "manifest: unknown members", damage: put(manifestFile, `{"id":"$OLD","app":"$APP","members":[{"volume":"x","guid":"../../x"}]}`),
			args: []string{"pin", "$OLD", "reason"}, status: exitFailed, says: "not complete",
		},
		bad{
			name: "manifest: the set is gone", damage: put("$STATE/sets/$APP/$APP-20200101T000000.000Z.json", `{"id":"$APP-20200101T000000.000Z","app":"$APP"}`),
			args: []string{"show", "$APP-20200101T000000.000Z"}, status: exitFailed, says: "no such set",
		},
		bad{name: "last run: truncated", damage: put("$STATE/last-run/$APP.json", `{"app":`), args: []string{"status"}, says: "none", answer: tolerated},
		bad{name: "last run: wrong type", damage: put("$STATE/last-run/$APP.json", `{"app":"$APP","ok":"yes"}`), args: []string{"status"}, says: "none", answer: tolerated},
		bad{name: "last run: directory", damage: directory("$STATE/last-run/$APP.json"), args: []string{"status"}, says: "not a regular file", answer: tolerated},
		bad{name: "last run: link", damage: link("$STATE/last-run/$APP.json", "/etc/passwd"), args: []string{"status"}, says: "last-run/$APP.json", answer: tolerated},
	)
}

// badRecords make a snapshot that nobody can be sure of: the set does not count, and stays.
func badRecords() []bad {
	swap := func(old, with string) func(*testing.T, *badHost) {
		return func(t *testing.T, h *badHost) {
			t.Helper()
			path := h.record(t)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text := with
			if old != "" {
				if !strings.Contains(string(data), old) {
					t.Fatalf("the record has no %q: %s", old, data)
				}
				text = strings.Replace(string(data), old, with, 1)
			}
			if err := os.WriteFile(path, []byte(h.fill(text)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var cases []bad
	for what, damage := range map[string]func(*testing.T, *badHost){
		"empty":         swap("", ""),
		"truncated":     swap("", `{"version":1,"set":`),
		"array":         swap("", "[]"),
		"binary":        swap("", "\x00\xff\x1b[2J"),
		"two documents": swap("", "{}{}"),
		"newer version": swap(`"version": 1`, `"version": 2`),
		"wrong type":    swap(`"member": 1`, `"member": "one"`),
		"hostile set":   swap(`"set": "`, `"set": "../`),
		"member 9 of 2": swap(`"member": 1`, `"member": 9`),
		"pin escape":    swap(`"sealed": true`, `"sealed": true, "pins": ["\u001b[2J"]`),
		"climbs":        swap(`"source": "/`, `"source": "/../`),
		"unknown field": swap(`"sealed"`, `"run": "reboot", "sealed"`),
		"another GUID":  swap(`"guid": "`, `"guid": "00000000-0000-4000-8000-000000000000", "consistency": "`),
		"of 3":          swap(`"of": 2`, `"of": 3`),
	} {
		cases = append(cases,
			bad{name: "record: " + what, damage: damage, args: []string{"pin", "$OLD", "reason"}, status: exitFailed, says: "not complete"},
			bad{name: "record in prune: " + what, damage: damage, args: []string{"prune"}, says: "$NEW", answer: tolerated})
	}
	return cases
}

const journalFile = "$RUN/$APP.frozen.json"

// badJournals may hide that something is paused: every command that would change something refuses until somebody has looked.
func badJournals() []bad {
	entry := func(fields string) string {
		return `{"version":1,"app":"$APP","begun":"2026-01-01T00:00:00Z","limit_ns":1,"entries":[{` + fields + `}]}`
	}
	var cases []bad
	for what, damage := range map[string]func(*testing.T, *badHost){
		"empty":              put(journalFile, ""),
		"truncated":          put(journalFile, `{"version":1,"app":"$APP","entries":[{"kind":"pause"`),
		"array":              put(journalFile, "[]"),
		"null":               put(journalFile, "null"),
		"two documents":      put(journalFile, entry("")+"{}"),
		"binary":             put(journalFile, "\x00\xff\x1b[2J"),
		"no version":         put(journalFile, `{"app":"$APP","entries":[]}`),
		"newer version":      put(journalFile, `{"version":2,"app":"$APP","entries":[]}`),
		"wrong type":         put(journalFile, `{"version":1,"app":"$APP","entries":{"kind":"pause"}}`),
		"no container":       put(journalFile, entry(`"kind":"pause","container":""`)),
		"of another app":     put(journalFile, `{"version":1,"app":"other","begun":"2026-01-01T00:00:00Z","limit_ns":1,"entries":[]}`),
		"a container's name": put(journalFile, entry(`"kind":"pause","container":"postgres"`)),
		"a path for an id":   put(journalFile, entry(`"kind":"pause","container":"../containers/postgres"`)),
		"a short id":         put(journalFile, entry(`"kind":"pause","container":"0123456789ab"`)),
		"an unknown field":   put(journalFile, entry(`"kind":"pause","container":"`+strings.Repeat("a", 64)+`","user":"root"`)),
		"unknown kind":       put(journalFile, entry(`"kind":"stop","container":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`)),
		"exec of nothing":    put(journalFile, entry(`"kind":"exec","container":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","thaw":[]`)),
		"exec of a string":   put(journalFile, entry(`"kind":"exec","container":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","thaw":"reboot"`)),
		"negative time-out":  put(journalFile, entry(`"kind":"pause","container":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","timeout_ns":-1`)),
		"directory":          directory(journalFile),
		"link":               link(journalFile, "/etc/passwd"),
		"larger than any":    put(journalFile, strings.Repeat(" ", 5<<20)),
	} {
		cases = append(cases,
			bad{name: "journal in thaw: " + what, damage: damage, args: []string{"thaw"}, status: exitFailed, says: "journal is damaged"},
			bad{name: "journal in delete: " + what, damage: damage, args: []string{"delete", "$OLD"}, status: exitFailed, says: "journal is damaged"})
	}
	return append(cases,
		bad{name: "journal: in snapshot", damage: put(journalFile, "{"), args: []string{"snapshot"}, status: exitFailed, says: "remove the journal that is named above"},
		bad{name: "journal: in prune", damage: put(journalFile, "{"), args: []string{"prune"}, status: exitFailed, says: "journal is damaged"},
		bad{name: "journal: in pin", damage: put(journalFile, "{"), args: []string{"pin", "$OLD", "x"}, status: exitFailed, says: "journal is damaged"},
		bad{name: "journal: in status", damage: put(journalFile, "{"), args: []string{"status", "--check"}, status: 2, says: "journal is damaged"},
		bad{name: "journal: in check", damage: put(journalFile, "{"), args: []string{"check"}, status: exitFailed, says: "journal is damaged"},
		bad{name: "journal: of no app", damage: put("$RUN/-rf.frozen.json", entry(`"kind":"exec","container":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","thaw":["reboot"]`)), args: []string{"thaw"}, says: "left a journal alone", answer: tolerated},
	)
}

// badPlaces are directories and files that are something else.
func badPlaces() []bad {
	return []bad{
		{name: "lock: directory", damage: directory("$RUN/$APP.lock"), args: []string{"delete", "$OLD"}, status: exitFailed, says: "$RUN/$APP.lock"},
		{name: "lock: link", damage: link("$RUN/$APP.lock", "$WORK/volsnap.yaml"), args: []string{"delete", "$OLD"}, status: exitFailed, says: "$RUN/$APP.lock"},
		{name: "run dir: file", damage: put("$RUN", "x"), args: []string{"delete", "$OLD"}, status: exitUsage, says: `"$RUN" is not a directory`},
		{name: "run dir: below a file", damage: put("$WORK/f", "x"), args: []string{"thaw", "--run-dir", "$WORK/f/run"}, status: exitUsage, says: "$WORK/f/run"},
		{name: "run dir: dangling link", damage: link("$RUN", "$WORK/none"), args: []string{"delete", "$OLD"}, status: exitFailed, says: "$RUN"},
		{name: "run dir: others can write", damage: openTo("$RUN", 0o777), args: []string{"thaw"}, status: exitUsage, says: "others than root can write"},
		{name: "run dir: a group can write", damage: openTo("$RUN", 0o770), args: []string{"delete", "$OLD"}, status: exitUsage, says: "others than root can write"},
		{name: "run dir: for everybody", args: []string{"thaw", "--run-dir", "/tmp"}, status: exitUsage, says: "others than root can write"},
		{name: "run dir: of another user", damage: ownedBy("$RUN", 65534), args: []string{"thaw"}, status: exitUsage, says: "others than root can write"},
		{name: "state dir: file", damage: put("$STATE", "x"), args: []string{"snapshot"}, status: exitUsage, says: `"$STATE" is not a directory`},
		{name: "state dir: last-run is a file", damage: put("$STATE/last-run", "x"), args: []string{"run"}, status: exitUsage, says: "$STATE/last-run"},
		{name: "state dir: others can write", damage: openTo("$STATE", 0o777), args: []string{"delete", "$OLD"}, status: exitUsage, says: "others than root can write"},
		{name: "state dir: no room for manifests", damage: put("$STATE/sets", "x"), args: []string{"snapshot"}, status: exitUsage, says: "$STATE/sets"},
		{name: "metrics: directory", damage: put("$WORK/volsnap.yaml", goodConfiguration+"metrics: $WORK/run\n"), args: []string{"run"}, status: exitUsage, says: "is a directory"},
		{name: "docker host: tcp", damage: setenv("DOCKER_HOST", "tcp://127.0.0.1:2375"), args: []string{"snapshot"}, status: exitUsage, says: "has to run on this host"},
		{name: "docker host: relative", damage: setenv("DOCKER_HOST", "unix://docker.sock"), args: []string{"snapshot"}, status: exitUsage, says: "docker.sock"},
	}
}

func openTo(path string, mode os.FileMode) func(*testing.T, *badHost) {
	return func(t *testing.T, h *badHost) {
		t.Helper()
		directory(path)(t, h)
		if err := os.Chmod(h.fill(path), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func ownedBy(path string, uid int) func(*testing.T, *badHost) {
	return func(t *testing.T, h *badHost) {
		t.Helper()
		directory(path)(t, h)
		if err := os.Chown(h.fill(path), uid, uid); err != nil {
			t.Fatal(err)
		}
	}
}

func setenv(name, value string) func(*testing.T, *badHost) {
	return func(t *testing.T, _ *badHost) { t.Setenv(name, value) }
}

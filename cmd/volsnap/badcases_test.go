package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var longName = strings.Repeat("a", 300)

// badArguments are lines that no command takes.
func badArguments() []bad {
	line := func(says string, args ...string) bad {
		return bad{name: fmt.Sprintf("line: %q", args), args: args, status: exitUsage, says: says}
	}
	return []bad{
		line("no command is given"),
		line(`"frobnicate" is no command`, "frobnicate"),
		line(`"" is no command`, ""),
		line("unknown option --force", "prune", "$APP", "--force"),
		line("unknown option --force", "--force", "prune"),
		line("needs a value", "snapshot", "--label"),
		line("is given twice", "snapshot", "--label=a", "--label=b"),
		line("takes no value but true or false", "prune", "--dry-run=perhaps"),
		line("takes no argument", "thaw", "$APP"),
		line("takes no argument", "init", "x"),
		line("one app at most", "list", "a", "b"),
		line("takes SET", "show"),
		line("takes SET and REASON", "pin", "$NEW"),
		line("takes SET and REASON, and got 3", "pin", "$NEW", "two", "words"),
		line("takes SET", "delete", "$OLD", "$NEW"),
		line("takes SET", "why"),
		line("takes SET and DIR", "mount", "$NEW"),
		line("takes SET and DIR, and got 3", "mount", "$NEW", "$WORK/a", "b"),
		line("takes DIR", "umount"),
		line("takes DIR", "umount", "$WORK/a", "b"),
		line("needs the option --keep", "retention", "simulate"),
		line("needs the option --times", "retention", "simulate", "--keep", "last=1"),
		line("needs a command", "retention"),
		line(`"expire" is no command of`, "retention", "expire"),
		line("is named twice", "run", "$APP", "$APP"),
		line("is no app of", "run", "other"),
		line("is no app of", "run", "../x"),
		line("is no app of", "prune", "--yes", "$APP", "other"),
		line(`"-rf" is no app of`, "run", "--", "-rf"),
		line("is no name of an app", "list", "../x"),
		line("takes one app, then --", "guard"),
		line("takes one app, then --", "guard", "$APP"),
		line("takes one app, then --", "guard", "$APP", "touch", "$WORK/touched"),
		line("takes one app, then --", "guard", "--", "touch", "$WORK/touched"),
		line("takes one app, then --", "guard", "$APP", "other", "--", "touch", "$WORK/touched"),
		line("needs a command", "guard", "$APP", "--"),
		line("needs a command", "guard", "$APP", "--", ""),
		line("is no app of", "guard", "other", "--", "touch", "$WORK/touched"),
		line("is no app of", "guard", "../x", "--", "touch", "$WORK/touched"),
		line("unknown option --force", "guard", "$APP", "--force", "--", "touch", "$WORK/touched"),
		line("is given twice", "guard", "--keep=1d", "$APP", "--keep=1d", "--", "touch", "$WORK/touched"),
		line("is not given", "guard", "$APP", "--health-timeout=1s", "--", "touch", "$WORK/touched"),
		line("needs the option --journal", "dead-man"),
		line("is no path of a freeze journal", "dead-man", "--journal", "/etc/passwd"),
		line("is no path of a freeze journal", "dead-man", "--journal", "x.frozen.json"),
	}
}

// badValues are values of options.
func badValues() []bad {
	return slices.Concat(
		with(map[string]string{
			"newline": "a\nb", "escape": "\x1b[2J", "NUL": "a\x00b", "300 characters": longName, "empty": "", "not UTF-8": "\xff",
			"C1": "\u009b2J",
		}, "label", exitUsage, "--label", "snapshot", "$APP", "--label=%s"),
		with(map[string]string{"newline": "a\nb", "empty": "", "300 characters": longName}, "option --pin", exitUsage, "--pin", "snapshot", "--pin=%s"),
		with(map[string]string{"newline": "a\nb", "empty": "", "300 characters": longName}, "reason", exitUsage, "want 1 to 200 bytes", "pin", "$NEW", "%s"),
		with(map[string]string{"guard": "guard until 2020-01-01T00:00:00Z", "no guard": "guard until x", "base": "base of target x", "undo": "undo of the restore of $OLD"},
			"own reason", exitUsage, "given by volsnap itself", "pin", "$NEW", "%s"),
		with(map[string]string{"guard": "guard until 2020-01-01T00:00:00Z", "base": "base of target x"}, "own --pin", exitUsage, "given by volsnap itself", "snapshot", "--pin=%s"),
		with(map[string]string{"none": "0", "negative": "-1h", "words": "a while", "no unit": "26", "too short": "1ms", "too long": "200000d", "empty": ""},
			"guard keep", exitUsage, "--keep", "guard", "$APP", "--keep=%s", "--", "touch", "$WORK/touched"),
		with(map[string]string{"none": "0", "negative": "-1h", "words": "a while", "too short": "1ms", "empty": ""},
			"health-timeout", exitUsage, "--health-timeout", "guard", "$APP", "--health=true", "--health-timeout=%s", "--", "touch", "$WORK/touched"),
		with(map[string]string{"empty": "", "blank": " \t"}, "health", exitUsage, "--health", "guard", "$APP", "--health=%s", "--", "touch", "$WORK/touched"),
		with(map[string]string{"newline": "a\nb", "empty": ""}, "unpin reason", exitUsage, "want 1 to 200 bytes", "unpin", "$NEW", "%s"),
		with(map[string]string{"relative": "state", "climbing": "../state", "empty": ""}, "state-dir", exitUsage, "--state-dir", "snapshot", "--state-dir=%s"),
		with(map[string]string{"relative": "run", "empty": ""}, "run-dir", exitUsage, "--run-dir", "thaw", "--run-dir=%s"),
		with(map[string]string{"unknown": "loud", "number": "7", "empty": ""}, "log-level", exitUsage, "--log-level", "run", "--log-level=%s"),
		with(map[string]string{"unknown": "xml"}, "log-format", exitUsage, "--log-format", "run", "--log-format=%s"),
		with(map[string]string{"none": "0", "negative": "-1h", "words": "a while", "no unit": "26"}, "max-age", exitUsage, "--max-age", "status", "--max-age=%s"),
		with(map[string]string{
			"empty": "", "no number": "daily", "unknown rule": "fortnightly=2", "twice": "daily=1,daily=2", "below -1": "last=-2",
			"huge": "last=99999999999999999999", "space": "last=1, daily=2", "empty rule": "last=1,,daily=1", "octal": "last=010",
		}, "keep", exitUsage, "--keep", "retention", "simulate", "--times", "-", "--keep=%s"),
		with(map[string]string{"unknown": "Mars/Olympus", "empty": "", "climbing": "../../etc/passwd", "absolute": "/etc/localtime"},
			"zone", exitUsage, "--zone", "retention", "simulate", "--keep", "last=1", "--times", "-", "--zone=%s"),
		with(map[string]string{"missing": "$WORK/none", "directory": "$WORK", "endless": "/dev/zero", "empty": ""},
			"times", exitUsage, "--times", "retention", "simulate", "--keep", "last=1", "--times=%s"),
		badTimes(), badDirectories(),
	)
}

// badDirectories are no places to mount a set at, or to mount one from.
func badDirectories() []bad {
	at := map[string]string{
		"the root": "/", "climbs to it": "$WORK/../../../../../../../..", "not empty": "$WORK", "a file": "$WORK/volsnap.yaml", "below a file": "$WORK/volsnap.yaml/x",
		"below nothing": "$WORK/none/x", "a mount point": "$MNT", "the kernel's": "/proc", "a volume": "$MNT/pg", "in a volume": "$MNT/pg/look",
		"in a volume, by a way round": "$MNT/ipfs/../pg/./look/", "the run directory": "$RUN", "in the run directory": "$RUN/look",
		"among the snapshots": "$MNT/.volsnap", "a device": "/dev/null", "name too long": "$WORK/" + longName,
	}
	cases := with(at, "mount at", exitUsage, "no set can be mounted there", "mount", "$NEW", "--", "%s")
	delete(at, "name too long")
	for what, args := range map[string][]string{"mount": {"mount", "$NEW", "--", "%s"}, "umount": {"umount", "--", "%s"}} {
		cases = append(cases, with(map[string]string{"empty": "", "NUL": "$WORK/a\x00b"}, what+" at", exitUsage, "is no name of a directory", args...)...)
	}
	cases = append(cases, with(at, "umount", exitUsage, "no set is mounted there", "umount", "--", "%s")...)
	return append(cases, with(map[string]string{
		"no target": "moon", "empty": "", "unknown kind": "ext4:/x", "relative": "btrfs:x", "no place": "btrfs:", "twice": "btrfs:/a", "LVM without a client": "lvm:vg/pool",
		"control characters": "\x1b[2J",
	}, "mount from", exitUsage, "volsnap: ", "mount", "$NEW", "$WORK/look", "--from=%s", "--from=btrfs:/a")...)
}

func badTimes() []bad {
	var cases []bad
	for what, in := range map[string]string{
		"no zone": "2026-01-01T00:00:00", "no such day": "2026-02-30T00:00:00Z", "word": "yesterday", "two on a line": "2026-01-01T00:00:00Z 2026-01-01T00:00:00Z",
		"escape": "\x1b[2J", "binary": "\xff\xfe\x00", "second line": "2026-01-01T00:00:00Z\nx", "long line": strings.Repeat("1", 1<<20),
	} {
		cases = append(cases, bad{
			name: "times file: " + what, args: []string{"retention", "simulate", "--keep", "last=1", "--times", "-"}, stdin: in,
			status: exitUsage, says: "--times",
		})
	}
	return cases
}

// badSetIDs are no names of sets.
func badSetIDs() []bad {
	ids := map[string]string{
		"climbs": "../x", "climbs after a set": "$OLD/../x", "option": "-rf", "empty": "", "newline": "$OLD\n", "NUL": "$OLD\x00", "300 characters": longName,
		"semicolon": "$OLD;reboot", "substitution": "`reboot`-20261121T020000.123Z", "upper case": "CCN-20261121T020000.123Z", "no such month": "ccn-20261321T020000.123Z",
		"no app": "-20261121T020000.123Z", "app alone": "$APP", "name of a snapshot": "volsnap-$OLD.json", "path": "/etc/passwd", "escape": "\x1b[2J-20261121T020000.123Z",
		"glob": "*-20261121T020000.123Z", "space": "$OLD ", "no milliseconds": "ccn-20261121T020000Z",
	}
	cases := slices.Concat(
		with(ids, "delete", exitUsage, "is no set id", "delete", "--", "%s"),
		with(ids, "pin", exitUsage, "is no set id", "pin", "--", "%s", "reason"),
	)
	cases = append(cases, with(ids, "mount", exitUsage, "is no set id", "mount", "--", "%s", "$WORK/look")...)
	few := map[string]string{"climbs": ids["climbs"], "option": ids["option"], "300 characters": longName}
	for _, command := range []string{"show", "why"} {
		cases = append(cases, with(few, command, exitUsage, "is no set id", command, "--", "%s")...)
	}
	cases = append(cases, with(few, "unpin", exitUsage, "is no set id", "unpin", "--", "%s", "reason")...)
	for _, line := range [][]string{
		{"show"}, {"delete"}, {"why"}, {"pin", "reason"}, {"unpin", "reason"},
	} {
		args := slices.Insert(slices.Clone(line), 1, "$APP-20200101T000000.000Z")
		cases = append(cases, bad{name: "no such set: " + line[0], args: args, status: exitFailed, says: "no such set"})
	}
	return append(cases,
		bad{name: "no such set: mount", args: []string{"mount", "$APP-20200101T000000.000Z", "$WORK/look"}, status: exitFailed, says: "no such set"},
		bad{name: "why: set of no app", args: []string{"why", "other-20200101T000000.000Z"}, status: exitUsage, says: "is no app of"},
		bad{name: "delete the newest", args: []string{"delete", "$NEW"}, status: exitFailed, says: "newest complete set"},
		bad{name: "unpin what is not pinned", args: []string{"unpin", "$NEW", "x"}, status: exitFailed, says: "not pinned"},
	)
}

// badConfigurations are those of package config, given to the command that would act on them.
func badConfigurations() []bad {
	var cases []bad
	paths, _ := filepath.Glob(filepath.Join("..", "..", "config", "testdata", "bad", "*.txtar")) // the pattern is a good one
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			continue // config's own tests say so
		}
		for _, f := range archive.Files {
			name, ok := strings.CutSuffix(f.Name, ".yaml")
			if !ok {
				continue
			}
			cases = append(cases, badConfiguration(filepath.Base(path)+": "+name, f.Data, "volsnap.yaml"))
		}
	}
	good := []byte(goodConfiguration)
	for name, text := range map[string][]byte{
		"empty":        {},
		"zeros":        make([]byte, 4096),
		"binary":       []byte("\x7fELF\x02\x01\x01"),
		"not UTF-8":    append(slices.Clone(good), "# \xff\n"...),
		"truncated":    good[:len(good)/2],
		"two":          slices.Concat(good, []byte("---\n"), good),
		"escape":       append(slices.Clone(good), "# \x1b[2J\n"...),
		"unknown key":  append(slices.Clone(good), "shell: rm -rf /\n"...),
		"larger":       append(slices.Clone(good), strings.Repeat("#", 2<<20)...),
		"JSON of some": []byte(`{"version":1}`),
	} {
		cases = append(cases, badConfiguration(name, text, "volsnap.yaml"))
	}
	return append(cases,
		bad{name: "configuration: missing", args: []string{"run", "--config", "$WORK/none.yaml"}, status: exitUsage, says: "none.yaml"},
		bad{name: "configuration: directory", args: []string{"run", "--config", "$WORK"}, status: exitUsage, says: "$WORK"},
		bad{name: "configuration: device", args: []string{"run", "--config", "/dev/null"}, status: exitUsage, says: "/dev/null"},
		bad{name: "configuration: endless", args: []string{"run", "--config", "/dev/zero"}, status: exitUsage, says: "/dev/zero"},
	)
}

func badConfiguration(name string, data []byte, says string) bad {
	return bad{
		name: "configuration: " + name, args: []string{"run"}, status: exitUsage, says: says,
		damage: func(t *testing.T, h *badHost) {
			if err := os.WriteFile(h.config, []byte(strings.NewReplacer("$APP", h.app, "$STATE", h.state, "$RUN", h.run, "$MNT", h.mnt).Replace(string(data))), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
}

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// called is what the action of a command was given.
type called struct {
	command string
	args    []string
	values  map[string]string // of the flags that were set
}

// recording is the app with every action replaced by one that notes how it was called.
func recording() (app *cli.App, got *called) {
	app = (&program{stdout: &strings.Builder{}, stderr: &strings.Builder{}}).app()
	got = &called{}
	app.Before = nil
	walk(app.Commands, nil, func(path []string, c *cli.Command) {
		c.Action = func(ctx *cli.Context) error {
			*got = called{command: strings.Join(path, " "), args: ctx.Args().Slice(), values: map[string]string{}}
			for _, f := range slices.Concat(c.Flags, app.Flags) {
				name := f.Names()[0]
				if _, several := f.(*cli.StringSliceFlag); several && ctx.IsSet(name) {
					got.values[name] = strings.Join(ctx.StringSlice(name), "|")
				} else if ctx.IsSet(name) {
					got.values[name] = fmt.Sprint(ctx.Value(name))
				}
			}
			return nil
		}
	})
	return app, got
}

func walk(commands []*cli.Command, above []string, fn func([]string, *cli.Command)) {
	for _, c := range commands {
		path := append(slices.Clone(above), c.Name)
		fn(path, c)
		walk(c.Subcommands, path, fn)
	}
}

// leaves are the commands that take options and arguments, with their paths.
func leaves() map[string]*cli.Command {
	found := map[string]*cli.Command{}
	walk((&program{}).app().Commands, nil, func(path []string, c *cli.Command) {
		if len(c.Subcommands) == 0 {
			found[strings.Join(path, " ")] = c
		}
	})
	return found
}

// urfave/cli takes what follows the first argument for arguments. Here, every option of every command means the same before
// and after them, joined or apart, and before the command too when it is global.
func TestEveryOptionEverywhere(t *testing.T) {
	global := (&program{}).app().Flags
	lines := 0
	for name, c := range leaves() {
		var required []string
		want := map[string]string{}
		for _, f := range c.Flags {
			if r, ok := f.(cli.RequiredFlag); ok && r.IsRequired() {
				required = append(required, "--"+f.Names()[0], "needed")
				want[f.Names()[0]] = "needed"
			}
		}
		for i, f := range slices.Concat(c.Flags, global) {
			flag := f.Names()[0]
			apart, joined, value := []string{"--" + flag, "-v al"}, []string{"--" + flag + "=-v al"}, "-v al"
			if doc, ok := f.(cli.DocGenerationFlag); ok && !doc.TakesValue() {
				apart, joined, value = []string{"--" + flag}, []string{"--" + flag + "=true"}, "true"
			}
			rest := slices.Clone(required)
			if at := slices.Index(rest, "--"+flag); at >= 0 {
				rest = slices.Delete(rest, at, at+2)
			}
			values := map[string]string{flag: value}
			for k, v := range want {
				if k != flag {
					values[k] = v
				}
			}
			words := strings.Fields(name)
			checkCall(t, slices.Concat(words, rest, []string{"one", "two"}, []string{joined[0][1:]}), called{name, []string{"one", "two"}, values})
			if separates(c) {
				args := []string{"one", "--", apart[0], "--", joined[0], "two"}
				checkCall(t, slices.Concat(words, apart, rest, args), called{name, args, values})
				checkCall(t, slices.Concat(words, rest, args[:1], joined, args[1:]), called{name, args, values})
			}
			for _, option := range [][]string{apart, joined} {
				all := [][]string{
					slices.Concat(words, option, rest, []string{"one", "two"}),
					slices.Concat(words, []string{"one"}, option, []string{"two"}, rest),
					slices.Concat(words, rest, []string{"one", "two"}, option),
				}
				if !separates(c) {
					all = append(all, slices.Concat(words, option, rest, []string{"--", "one", "two"}))
				}
				if i >= len(c.Flags) {
					all = append(all, slices.Concat(option, words, rest, []string{"one", "two"}))
				}
				for _, argv := range all {
					lines++
					checkCall(t, argv, called{name, []string{"one", "two"}, values})
				}
			}
		}
	}
	t.Logf("%d command lines", lines)
}

func checkCall(t *testing.T, argv []string, want called) {
	t.Helper()
	app, got := recording()
	line, err := arrange(app, append([]string{"volsnap"}, argv...))
	if err == nil {
		err = app.Run(line)
	}
	if err != nil {
		t.Errorf("%q: %v", argv, err)
		return
	}
	if diff := cmp.Diff(want, *got, cmp.AllowUnexported(called{})); diff != "" {
		t.Errorf("%q (-want +got)\n%s", argv, diff)
	}
}

func TestArgumentsThatLookLikeOptions(t *testing.T) {
	for _, tc := range []struct {
		argv []string
		args []string
	}{
		{[]string{"pin", "ID", "--", "-because"}, []string{"ID", "-because"}},
		{[]string{"pin", "--", "--json", "--config"}, []string{"--json", "--config"}},
		{[]string{"pin", "ID", "-"}, []string{"ID", "-"}},
		{[]string{"pin", "ID", ""}, []string{"ID", ""}},
		{[]string{"pin", "pin", "help"}, []string{"pin", "help"}},
		{[]string{"pin", "ID", "--", "--"}, []string{"ID", "--"}},
		{[]string{"guard", "app", "--", "sudo", "--help", "-h", "--json", "--", "help", ""}, []string{"app", "--", "sudo", "--help", "-h", "--json", "--", "help", ""}},
		{[]string{"guard", "--", "ls"}, []string{"--", "ls"}},
		{[]string{"guard", "app", "ls"}, []string{"app", "ls"}},
	} {
		checkCall(t, tc.argv, called{tc.argv[0], tc.args, map[string]string{}})
	}
}

// Whatever a command does not know ends it before it began.
func TestUnknownOptions(t *testing.T) {
	for name := range leaves() {
		words := strings.Fields(name)
		for _, bad := range [][]string{
			{"--nope"},
			{"x", "--nope"},
			{"x", "--nope=1"},
			{"x", "-n"},
			{"x", "--JSON"},
			{"x", "--dry_run"},
			{"x", "---json"},
			{"x", "--=x"},
			{"x", "--version"},
			{"x", "--config", "/a", "--config", "/b"},
			{"x", "--log-level=info", "--log-level", "info"},
			{"x", "--run-dir"},
		} {
			got := invoke("", append(slices.Clone(words), bad...)...)
			if got.status != exitUsage || got.stdout != "" || !strings.HasPrefix(got.stderr, "volsnap: ") {
				t.Errorf("%s %q: %+v", name, bad, got)
			}
		}
	}
}

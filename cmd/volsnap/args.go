package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts a command line into the order that urfave/cli understands: global options, command, its options, arguments.
// Left alone, it takes an option after the first argument for another argument, in silence, so that
// `volsnap prune ccn --dry-run` would prune. What does not belong to the command is an error here, before anything runs.
func arrange(app *cli.App, argv []string) ([]string, error) {
	a := arranging{app: app, commands: app.Commands, seen: map[string]bool{}}
	for i := 1; i < len(argv); i++ {
		arg := argv[i]
		if arg == "--" {
			if a.command != nil && separates(a.command) {
				a.words = append(append(a.words, arg), argv[i+1:]...)
				break
			}
			for _, rest := range argv[i+1:] {
				if err := a.word(rest); err != nil {
					return nil, err
				}
			}
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			if err := a.word(arg); err != nil {
				return nil, err
			}
			continue
		}
		used, err := a.option(arg, argv[i+1:])
		if err != nil {
			return nil, err
		}
		i += used
	}
	return append([]string{argv[0]}, a.line()...), nil
}

// line is what was read, in order. Whoever asks for help gets it, and nothing else happens.
func (a *arranging) line() []string {
	if a.helping || a.seen["help"] {
		return append(a.path, "--help")
	}
	out := append(append(a.global, a.path...), a.local...)
	if len(a.words) > 0 {
		out = append(append(out, "--"), a.words...)
	}
	return out
}

type arranging struct {
	app      *cli.App
	command  *cli.Command   // the innermost that was named
	commands []*cli.Command // that may be named next
	seen     map[string]bool
	helping  bool // the first word is "help": those that follow name a command

	global, path, local, words []string
}

// separates reports whether a command's arguments have a "--" of their own, as its usage shows them. What stands behind that is another
// command line, and is left as it is; the command finds the "--" among its arguments.
func separates(c *cli.Command) bool { return strings.Contains(c.ArgsUsage, "-- ") }

// word takes the name of a command, or an argument.
func (a *arranging) word(w string) error {
	if len(a.words) == 0 {
		for _, c := range a.commands {
			if c.HasName(w) {
				a.command, a.commands, a.path = c, c.Subcommands, append(a.path, w)
				return nil
			}
		}
	}
	if w == "help" && a.command == nil && !a.helping {
		a.helping = true
		return nil
	}
	if a.command == nil {
		return usagef("%q is no command; `volsnap help` lists them", w)
	}
	if a.helping || len(a.commands) > 0 {
		return usagef("%q is no command of `volsnap %s`", w, strings.Join(a.path, " "))
	}
	a.words = append(a.words, w)
	return nil
}

// option takes an option, with its value if that stands apart, and says how many more arguments it used.
func (a *arranging) option(arg string, rest []string) (used int, err error) {
	name, value, joined := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	flag, global := a.find(name)
	if flag == nil {
		return 0, usagef("unknown option %s%s", arg, a.where())
	}
	key := flag.Names()[0]
	if _, several := flag.(*cli.StringSliceFlag); a.seen[key] && !several {
		return 0, usagef("option --%s is given twice", key)
	}
	a.seen[key] = true
	take := []string{arg}
	doc, ok := flag.(cli.DocGenerationFlag)
	switch takes := ok && doc.TakesValue(); {
	case takes && !joined && len(rest) == 0:
		return 0, usagef("option %s needs a value", arg)
	case takes && !joined:
		take, used = append(take, rest[0]), 1
	case !takes && joined && value != "true" && value != "false":
		return 0, usagef("option --%s takes no value but true or false, not %q", key, value)
	}
	if global {
		a.global = append(a.global, take...)
	} else {
		a.local = append(a.local, take...)
	}
	return used, nil
}

func (a *arranging) find(name string) (flag cli.Flag, global bool) {
	if a.command != nil {
		for _, f := range append(a.command.Flags, cli.HelpFlag) {
			if has(f, name) {
				return f, false
			}
		}
	}
	for _, f := range append(a.app.Flags, cli.HelpFlag, cli.VersionFlag) {
		if has(f, name) && (a.command == nil || f != cli.VersionFlag) {
			return f, true
		}
	}
	return nil, false
}

func (a *arranging) where() string {
	if len(a.path) == 0 {
		return "; `volsnap help` lists those of all commands, and those of one command stand after it"
	}
	return fmt.Sprintf(" of `volsnap %s`; `volsnap %s --help` lists them", strings.Join(a.path, " "), strings.Join(a.path, " "))
}

func has(f cli.Flag, name string) bool {
	for _, n := range f.Names() {
		if n == name {
			return true
		}
	}
	return false
}

// needed refuses to go on without options that have no default. (The library's own check prints help and no usage error.)
func needed(c *cli.Context, names ...string) error {
	for _, name := range names {
		if !c.IsSet(name) {
			return usagef("`%s` needs the option --%s", c.Command.HelpName, name)
		}
	}
	return nil
}

// noArguments refuses arguments where a command takes none.
func noArguments(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("`%s` takes no argument, and got %q", c.Command.HelpName, c.Args().First())
	}
	return nil
}

// arguments are exactly the named ones.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	if c.NArg() != len(names) {
		return nil, usagef("`%s` takes %s, and got %d arguments; quote what has spaces", c.Command.HelpName, strings.Join(names, " and "), c.NArg())
	}
	return c.Args().Slice(), nil
}

// An editor for Python, made of CodeMirror. bundle.py bundles it with esbuild into assets/editor.js, a script that adds
//
//   Course.Editor.create({parent, text, label, changed, keys, describedBy}) -> editor
//       puts an editor into the element `parent`. `label` names it for a screen reader, `describedBy` is the id of an
//       element that says how to leave it with the keyboard. `changed(text)` is called after every change. `keys` is a
//       list of {key: "Mod-Enter", run}, where Mod is Ctrl, or Cmd on a Mac.
//   editor.text            what stands in it
//   editor.replace(text)   puts another text in; the reader can undo that
//   editor.focus()
//   editor.goTo(line)      moves the cursor to a line, counted from 1, and shows it
//   editor.mark(line)      marks a line where something went wrong, until the text changes; null takes the mark away
//
// Tab indents. After Escape it leaves the editor, as elsewhere in a page, and a page has to say so.
import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, foldGutter, foldKeymap, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { EditorState, StateEffect, StateField } from "@codemirror/state";
import { Decoration, drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.bool, tags.null, tags.self], color: "var(--keyword)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--string)" },
  { tag: tags.number, color: "var(--number)" },
  { tag: tags.comment, color: "var(--comment)", fontStyle: "italic" },
]);

const look = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "var(--raised)", border: "1px solid var(--line)", borderRadius: "6px", fontSize: "0.82rem" },
  "&.cm-focused": { outline: "3px solid var(--accent)", outlineOffset: "1px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--ink)", borderLeftWidth: "2px" },
  ".cm-gutters": { color: "var(--soft)", backgroundColor: "var(--raised)", borderRight: "1px solid var(--line)" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--accent-soft) 45%, transparent)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    background: "color-mix(in srgb, var(--accent) 30%, transparent)",
  },
  ".cm-wrong": { backgroundColor: "color-mix(in srgb, var(--bad) 22%, transparent)", boxShadow: "inset 3px 0 var(--bad)" },
  ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": { backgroundColor: "var(--accent-soft)", outline: "1px solid var(--accent)" },
  ".cm-selectionMatch": { backgroundColor: "color-mix(in srgb, var(--accent) 18%, transparent)" },
  ".cm-searchMatch": { backgroundColor: "var(--mark)", color: "var(--mark-ink)" },
  ".cm-searchMatch-selected": { outline: "2px solid var(--accent)" },
  ".cm-panels": { color: "var(--ink)", backgroundColor: "var(--paper)", fontFamily: "var(--sans)" },
  ".cm-panels.cm-panels-bottom": { borderTop: "1px solid var(--line)" },
  ".cm-textfield, .cm-button": { color: "var(--ink)", background: "var(--raised)", border: "1px solid var(--faint)", fontSize: "0.85rem" },
  ".cm-foldPlaceholder": { color: "var(--soft)", background: "var(--accent-soft)", border: "none", padding: "0 0.4em" },
});

const TIME_TO_LEAVE = 10_000; // milliseconds after Escape, or until another key is pressed

function letTabLeave(view) {
  view.setTabFocusMode(TIME_TO_LEAVE);
  return false; // Escape goes on to do what else it does, such as to give up a selection
}

const setMark = StateEffect.define();
const markedLine = StateField.define({
  create: () => Decoration.none,
  update(marks, transaction) {
    const effect = transaction.effects.find((one) => one.is(setMark));
    if (effect) return effect.value === null ? Decoration.none : wrongLine(transaction.state, effect.value);
    return transaction.docChanged ? Decoration.none : marks;
  },
  provide: (field) => EditorView.decorations.from(field),
});

function wrongLine(state, number) {
  const line = state.doc.line(Math.min(number, state.doc.lines));
  return Decoration.set([Decoration.line({ class: "cm-wrong" }).range(line.from)]);
}

function create({ parent, text, label, changed = () => {}, keys = [], describedBy = "" }) {
  const own = keys.map(({ key, run }) => ({ key, preventDefault: true, run: () => (run(), true) }));
  const named = { "aria-label": label, tabindex: "0", ...(describedBy && { "aria-describedby": describedBy }) };
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: text,
      extensions: [
        keymap.of([{ key: "Escape", run: letTabLeave }, ...own]), // before the editor's own keys
        lineNumbers(),
        foldGutter(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        history(),
        drawSelection(),
        indentUnit.of("    "),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        search(),
        highlightSelectionMatches(),
        python(),
        syntaxHighlighting(colours),
        look,
        markedLine,
        EditorView.contentAttributes.of(named),
        EditorView.updateListener.of((update) => update.docChanged && changed(update.state.doc.toString())),
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...foldKeymap, indentWithTab]),
      ],
    }),
  });
  return new Editor(view);
}

class Editor {
  constructor(view) {
    this.view = view;
  }

  get text() {
    return this.view.state.doc.toString();
  }

  replace(text) {
    this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: text } });
  }

  focus() {
    this.view.focus();
  }

  goTo(number) {
    const { doc } = this.view.state;
    const line = doc.line(Math.max(1, Math.min(number, doc.lines)));
    this.view.dispatch({ selection: { anchor: line.from }, effects: EditorView.scrollIntoView(line.from, { y: "center" }) });
    this.focus();
  }

  mark(line) {
    this.view.dispatch({ effects: setMark.of(line) });
  }
}

Course.Editor = { create };

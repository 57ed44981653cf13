"""Answers to the requests of an editor, in the types of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException

from netdsl.desk.names import CannotRename
from netdsl.desk.outline import TOKEN_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netdsl.base.text import Span
    from netdsl.desk.diagnostics import Diagnostic
    from netdsl.desk.document import Document
    from netdsl.desk.outline import Symbol
    from netdsl.desk.protocol import Server
    from netdsl.desk.session import Session
    from netdsl.diagnostics.problem import Edit

SHOW = "netdsl.show"
"""The command that shows another variant of a net."""
REQUEST_FAILED = -32803
COMPLETION_KINDS = {
    "layer": lsp.CompletionItemKind.Function,
    "block": lsp.CompletionItemKind.Class,
    "net": lsp.CompletionItemKind.Module,
    "function": lsp.CompletionItemKind.Function,
    "variable": lsp.CompletionItemKind.Variable,
    "label": lsp.CompletionItemKind.Reference,
    "keyword": lsp.CompletionItemKind.Property,
    "key": lsp.CompletionItemKind.Property,
    "word": lsp.CompletionItemKind.EnumMember,
    "statement": lsp.CompletionItemKind.Keyword,
    "file": lsp.CompletionItemKind.File,
}
SYMBOL_KINDS = {
    "net": lsp.SymbolKind.Class,
    "alias": lsp.SymbolKind.Class,
    "block": lsp.SymbolKind.Struct,
    "function": lsp.SymbolKind.Function,
    "let": lsp.SymbolKind.Constant,
    "train": lsp.SymbolKind.Event,
    "label": lsp.SymbolKind.Key,
    "input": lsp.SymbolKind.Interface,
    "output": lsp.SymbolKind.Interface,
}


def position(offset: int, document: Document) -> lsp.Position:
    return lsp.Position(*document.position(offset))


def range_of(span: Span, document: Document) -> lsp.Range:
    start, end = document.range(span)
    return lsp.Range(lsp.Position(*start), lsp.Position(*end))


def location(span: Span, document: Document, session: Session) -> lsp.Location:
    """Return a location in a document or in a file that it uses."""
    uri = document.uri if span.source is document.source else session.address(span.source.name)
    return lsp.Location(uri, range_of(span, document))


def markup(text: str) -> lsp.MarkupContent:
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, text)


def diagnostic(found: Diagnostic, document: Document, session: Session) -> lsp.Diagnostic:
    is_error = found.problem.severity == "error"
    return lsp.Diagnostic(
        range_of(found.span, document),
        found.message,
        lsp.DiagnosticSeverity.Error if is_error else lsp.DiagnosticSeverity.Warning,
        found.problem.code,
        source="netdsl",
        tags=[lsp.DiagnosticTag.Unnecessary] if found.is_unused else None,
        related_information=[
            lsp.DiagnosticRelatedInformation(location(span, document, session), text) for span, text in found.related
        ],
    )


def text_edit(edit: Edit, document: Document) -> lsp.TextEdit:
    """Return an edit with the line ends of the document."""
    text = edit.text.replace("\n", "\r\n") if "\r\n" in document.raw else edit.text
    return lsp.TextEdit(range_of(edit.span, document), text)


def workspace_edit(edits: Iterable[Edit], document: Document, session: Session) -> lsp.WorkspaceEdit:
    """Return edits of the document and of other files."""
    found: dict[str, list[lsp.TextEdit]] = {}
    for edit in edits:
        here = edit.span.source is document.source
        uri = document.uri if here else session.address(edit.span.source.name)
        found.setdefault(uri, []).append(text_edit(edit, document))
    return lsp.WorkspaceEdit(found)


def _hints(server: Server, params: lsp.InlayHintParams) -> list[lsp.InlayHint]:
    from netdsl.desk.hints import hints

    analysis = server.of(params)
    if analysis is None or not server.session.hints:
        return []
    found = hints(analysis, params.range.start.line + 1, params.range.end.line + 1)
    return [
        lsp.InlayHint(position(each.offset, analysis.document), each.text, tooltip=each.tooltip, padding_left=True)
        for each in found
    ]


def _hover(server: Server, params: lsp.HoverParams) -> lsp.Hover | None:
    from netdsl.desk.hover import hover

    at = server.at(params)
    found = hover(*at) if at else None
    return lsp.Hover(markup(found.text), range_of(found.span, at[0].document)) if at and found else None


def _complete(server: Server, params: lsp.CompletionParams) -> lsp.CompletionList | None:
    from netdsl.desk.complete import complete

    at = server.at(params)
    if at is None:
        return None
    found = complete(*at)
    document = at[0].document
    place = lsp.Range(position(found.start, document), params.position)
    items = [
        lsp.CompletionItem(
            each.word,
            kind=COMPLETION_KINDS[each.kind],
            detail=each.detail or None,
            documentation=each.text or None,
            sort_text=f"{each.rank}{each.word}",
            text_edit=lsp.TextEdit(place, each.word),
        )
        for each in found.items
    ]
    return lsp.CompletionList(is_incomplete=False, items=items)


def _signature(server: Server, params: lsp.SignatureHelpParams) -> lsp.SignatureHelp | None:
    from netdsl.desk.complete import signature_help

    at = server.at(params)
    found = signature_help(*at) if at else None
    if found is None:
        return None
    parameters = [lsp.ParameterInformation(each) for each in found.parameters]
    label = lsp.SignatureInformation(found.usage, found.documentation or None, parameters, found.active)
    return lsp.SignatureHelp([label], 0, found.active)


def _definition(server: Server, params: lsp.DefinitionParams) -> list[lsp.Location]:
    from netdsl.desk.names import definition

    at = server.at(params)
    return [location(span, at[0].document, server.session) for span in definition(*at)] if at else []


def _references(server: Server, params: lsp.ReferenceParams) -> list[lsp.Location]:
    from netdsl.desk.names import references

    at = server.at(params)
    if at is None:
        return []
    found = references(server.session, *at)
    wanted = [each for each in found if params.context.include_declaration or each.span != each.definition]
    return [location(each.span, at[0].document, server.session) for each in wanted]


def _highlight(server: Server, params: lsp.DocumentHighlightParams) -> list[lsp.DocumentHighlight]:
    from netdsl.desk.names import references

    at = server.at(params)
    found = references(server.session, *at, everywhere=False) if at else []
    return [lsp.DocumentHighlight(range_of(each.span, at[0].document)) for each in found] if at else []


def _prepare_rename(server: Server, params: lsp.PrepareRenameParams) -> lsp.Range | None:
    from netdsl.desk.names import renamable

    at = server.at(params)
    try:
        return range_of(renamable(*at).span, at[0].document) if at else None
    except CannotRename as error:
        raise JsonRpcException(error.message, REQUEST_FAILED) from None


def _rename(server: Server, params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
    from netdsl.desk.names import rename

    at = server.at(params)
    if at is None:
        return None
    try:
        edits = rename(server.session, *at, params.new_name)
    except CannotRename as error:
        raise JsonRpcException(error.message, REQUEST_FAILED) from None
    return workspace_edit(edits, at[0].document, server.session)


def _symbols(server: Server, params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
    from netdsl.desk.outline import symbols

    analysis = server.of(params)
    return [_symbol(each, analysis.document) for each in symbols(analysis)] if analysis else []


def _symbol(found: Symbol, document: Document) -> lsp.DocumentSymbol:
    children = [_symbol(each, document) for each in found.children]
    name, span = found.name.text or "?", range_of(found.span, document)
    kind = SYMBOL_KINDS[found.kind]
    return lsp.DocumentSymbol(
        name, kind, span, range_of(found.name, document), found.detail or None, children=children or None
    )


def _folds(server: Server, params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange]:
    from netdsl.desk.outline import folds

    analysis = server.of(params)
    kind = lsp.FoldingRangeKind.Comment
    return [
        lsp.FoldingRange(first, last, kind=kind if is_comment else None)
        for first, last, is_comment in (folds(analysis) if analysis else ())
    ]


def _tokens(server: Server, params: lsp.SemanticTokensParams) -> lsp.SemanticTokens:
    from netdsl.desk.outline import tokens

    analysis = server.of(params)
    data: list[int] = []
    line = character = 0
    for start, end, kind in tokens(analysis) if analysis else ():
        document = analysis.document  # type: ignore[union-attr]
        at, column = document.position(start)
        last, until = document.position(end)
        if last == at:  # no token is longer than a line
            data += [at - line, column - (character if at == line else 0), until - column, TOKEN_KINDS.index(kind), 0]
            line, character = at, column
    return lsp.SemanticTokens(data)


def _format(server: Server, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
    from netdsl.desk.actions import formatted

    analysis = server.of(params)
    return [text_edit(each, analysis.document) for each in formatted(analysis)] if analysis else []


def _format_range(server: Server, params: lsp.DocumentRangeFormattingParams) -> list[lsp.TextEdit]:
    from netdsl.desk.actions import formatted

    analysis = server.of(params)
    start, end = params.range.start, params.range.end
    last = end.line - (end.character == 0 and end.line > start.line)
    return [text_edit(each, analysis.document) for each in formatted(analysis, (start.line, last))] if analysis else []


def _lenses(server: Server, params: lsp.CodeLensParams) -> list[lsp.CodeLens]:
    from netdsl.desk.outline import lenses

    analysis = server.of(params)
    if analysis is None:
        return []
    uri = analysis.document.uri
    return [
        lsp.CodeLens(
            range_of(each.span, analysis.document),
            lsp.Command(
                each.text, SHOW if each.command else "", arguments=[uri, *each.command] if each.command else None
            ),
        )
        for each in lenses(analysis)
    ]


def _actions(server: Server, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    from netdsl.desk.actions import FIX_ALL, actions, safe_fixes
    from netdsl.desk.diagnostics import diagnostics

    analysis = server.of(params)
    if analysis is None:
        return []
    document, session = analysis.document, server.session
    wanted = [str(getattr(kind, "value", kind)) for kind in params.context.only or ()]
    found = []
    if any(kind == FIX_ALL or FIX_ALL.startswith(f"{kind}.") for kind in wanted):
        edits = safe_fixes(session, document.uri)
        if edits:
            edit = workspace_edit(edits, document, session)
            found.append(lsp.CodeAction("apply all safe fixes", FIX_ALL, edit=edit))
    places = [(place.line, place.character) for place in (params.range.start, params.range.end)]
    start, end = map(document.offset, places)
    known = {id(each.problem): each for each in diagnostics(analysis)}
    for each in actions(analysis, start, end):
        if not wanted or any(each.kind == kind or each.kind.startswith(f"{kind}.") for kind in wanted):
            fixed = known.get(id(each.problem))
            found.append(
                lsp.CodeAction(
                    each.title,
                    each.kind,
                    [diagnostic(fixed, document, session)] if fixed else None,
                    is_preferred=each.is_preferred or None,
                    edit=workspace_edit(each.edits, document, session),
                )
            )
    return found


REQUESTS: dict[str, tuple[Callable[..., Any], Any]] = {
    lsp.TEXT_DOCUMENT_INLAY_HINT: (_hints, None),
    lsp.TEXT_DOCUMENT_HOVER: (_hover, None),
    lsp.TEXT_DOCUMENT_COMPLETION: (_complete, lsp.CompletionOptions(trigger_characters=['"', "/"])),
    lsp.TEXT_DOCUMENT_SIGNATURE_HELP: (_signature, lsp.SignatureHelpOptions(trigger_characters=[" "])),
    lsp.TEXT_DOCUMENT_DEFINITION: (_definition, None),
    lsp.TEXT_DOCUMENT_REFERENCES: (_references, None),
    lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT: (_highlight, None),
    lsp.TEXT_DOCUMENT_PREPARE_RENAME: (_prepare_rename, None),
    lsp.TEXT_DOCUMENT_RENAME: (_rename, lsp.RenameOptions(prepare_provider=True)),
    lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL: (_symbols, None),
    lsp.TEXT_DOCUMENT_FOLDING_RANGE: (_folds, None),
    lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL: (_tokens, lsp.SemanticTokensLegend(list(TOKEN_KINDS), [])),
    lsp.TEXT_DOCUMENT_FORMATTING: (_format, None),
    lsp.TEXT_DOCUMENT_RANGE_FORMATTING: (_format_range, None),
    lsp.TEXT_DOCUMENT_CODE_LENS: (_lenses, lsp.CodeLensOptions()),
    lsp.TEXT_DOCUMENT_CODE_ACTION: (
        _actions,
        lsp.CodeActionOptions(
            [lsp.CodeActionKind.QuickFix, lsp.CodeActionKind.RefactorRewrite, "source.fixAll.netdsl"]
        ),
    ),
}
"""The functions that answer requests, and what the server says about each."""

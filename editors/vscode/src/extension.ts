import { commands, ExtensionContext, window, workspace } from "vscode";
import { LanguageClient } from "vscode-languageclient/node";

let client: LanguageClient | undefined;

async function start(): Promise<void> {
  const [command, ...args] = workspace.getConfiguration("netdsl").get<string[]>("command", ["netdsl", "lsp"]);
  client = new LanguageClient("netdsl", { command, args }, { documentSelector: [{ language: "netdsl" }] });
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    const install = "pip install 'netdsl[lsp]'";
    window.showErrorMessage(`netdsl: cannot run ${command} (${error}). Install it with: ${install}`);
  }
}

async function restart(): Promise<void> {
  await deactivate();
  await start();
}

export async function activate(context: ExtensionContext): Promise<void> {
  context.subscriptions.push(
    commands.registerCommand("netdsl.restart", restart),
    workspace.onDidChangeConfiguration((change) => change.affectsConfiguration("netdsl.command") && restart()),
  );
  await start();
}

export async function deactivate(): Promise<void> {
  await client?.stop();
  client = undefined;
}

-- Attach Neovim to the language server, edit the buffer, and print what it shows. Works with Neovim 0.7 and later.
local function shown()
  local found = {}
  for _, each in ipairs(vim.diagnostic.get(0)) do
    table.insert(found, ('%d:%d %s'):format(each.lnum, each.col, vim.split(each.message, '\n')[1]))
  end
  return table.concat(found, ' | ')
end

local function wait(what, holds)
  if not vim.wait(30000, holds, 20) then
    io.stdout:write('waited in vain for ' .. what .. ': ' .. shown() .. '\n')
    vim.cmd 'cquit'
  end
end

local id = vim.lsp.start_client { name = 'netdsl', cmd = vim.split(vim.env.NETDSL_SERVER, '\n'), root_dir = vim.fn.getcwd() }
vim.lsp.buf_attach_client(0, id)
wait('an error', function() return #vim.diagnostic.get(0) > 0 end)
io.stdout:write(shown() .. '\n')
vim.api.nvim_buf_set_text(0, 3, 2, 3, 7, { 'dense' })
wait('no error', function() return #vim.diagnostic.get(0) == 0 end)
local options = { textDocument = vim.lsp.util.make_text_document_params(), options = { tabSize = 2, insertSpaces = true } }
local answer = vim.lsp.buf_request_sync(0, 'textDocument/formatting', options, 30000)
vim.lsp.util.apply_text_edits(answer[id].result, 0, 'utf-16')
io.stdout:write(table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), '\n') .. '\n')
vim.lsp.stop_client(id)
wait('the end', function() return vim.lsp.client_is_stopped(id) end)
vim.cmd 'qall!'

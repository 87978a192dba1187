/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel calls instead of the program's handlers: one stub for each
 * handler, so that the address alone says which it is. signal.c.
 *
 * A stub leaves registers, stack and return address as the kernel made them
 * and jumps: to the handler, to debuggers and to unwinders we are not there.
 */
#include "runtime/client/signal.h"

	.text
	.hidden dipc_signal_stubs
	.hidden dipc_signal_enter
	.globl dipc_signal_stubs
	.type dipc_signal_stubs, @function
	.p2align DIPC_SIGNAL_STUB_SHIFT
dipc_signal_stubs:
	.cfi_startproc
	.set index, 0
	.rept DIPC_SIGNAL_STUBS
	endbr64
	movl	$index, %eax
	jmp	enter
	.p2align DIPC_SIGNAL_STUB_SHIFT
	.set index, index + 1
	.endr
	.cfi_endproc
	.size dipc_signal_stubs, . - dipc_signal_stubs

	.type enter, @function
enter:
	.cfi_startproc
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	pushq	%rsi
	.cfi_adjust_cfa_offset 8
	pushq	%rdx
	.cfi_adjust_cfa_offset 8
	movl	%eax, %edi
	call	dipc_signal_enter
	popq	%rdx
	.cfi_adjust_cfa_offset -8
	popq	%rsi
	.cfi_adjust_cfa_offset -8
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	movq	%rax, %r11
	xorl	%eax, %eax
	jmp	*%r11
	.cfi_endproc
	.size enter, . - enter

	.section .note.GNU-stack, "", @progbits

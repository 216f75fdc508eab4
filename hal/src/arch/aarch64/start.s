// From the firmware's hands to Rust: one core, EL1, vectors, a painted stack, zeroed memory. Caches are off still.
.section .text.boot, "ax"
.global _start
_start:
    mov     x19, x0                     // where the firmware put a device tree, if it did
    mrs     x1, mpidr_el1
    tst     x1, #0xff
    b.ne    dartsync_parked
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.ne    1f

    mov     x1, #(1 << 31)              // EL1 runs AArch64
    msr     hcr_el2, x1
    mov     x1, #3                      // EL1 may use the physical counter and timer
    msr     cnthctl_el2, x1
    msr     cntvoff_el2, xzr
    mov     x1, #0x33ff                 // nothing traps to EL2
    msr     cptr_el2, x1
    msr     hstr_el2, xzr
    mov     x1, #0x3c4                  // EL1 with SP_EL0, everything masked
    msr     spsr_el2, x1
    adr     x1, 1f
    msr     elr_el2, x1
    eret

1:  ldr     x1, =0x30d00800             // SCTLR_EL1: what must be one; MMU, caches and alignment checks off
    msr     sctlr_el1, x1
    mov     x1, #(3 << 20)              // floating point
    msr     cpacr_el1, x1
    ldr     x1, =dartsync_vectors
    msr     vbar_el1, x1
    msr     daifset, #0xf
    isb

    msr     spsel, #1                   // exceptions have a stack of their own
    ldr     x1, =__fault_stack_end
    mov     sp, x1
    msr     spsel, #0
    ldr     x1, =__stack_end
    mov     sp, x1

    ldr     x1, =__stack                // paint it, to see later how deep it went
    ldr     x2, =__stack_end
    ldr     x3, =0x5ac3a55a5ac3a55a
2:  stp     x3, x3, [x1], #16
    cmp     x1, x2
    b.lo    2b
    ldr     x1, =__bss
    ldr     x2, =__bss_end
3:  cmp     x1, x2
    b.hs    4f
    stp     xzr, xzr, [x1], #16
    b       3b

4:  mov     x0, x19
    mov     x29, xzr
    mov     x30, xzr
    b       dartsync_start

// Where cores wait that are not needed.
.global dartsync_parked
dartsync_parked:
    wfi
    b       dartsync_parked

// Every exception ends the program: registers to the stack of exceptions, then Rust says what happened.
.macro vector n
    .balign 0x80
    sub     sp, sp, #288
    stp     x0, x1, [sp]
    mov     x0, #\n
    b       5f
.endm

.balign 0x800
.global dartsync_vectors
dartsync_vectors:
    vector 0
    vector 1
    vector 2
    vector 3
    vector 4
    vector 5
    vector 6
    vector 7
    vector 8
    vector 9
    vector 10
    vector 11
    vector 12
    vector 13
    vector 14
    vector 15

.balign 0x80
5:  stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x1, sp_el0
    stp     x30, x1, [sp, #240]
    mrs     x1, elr_el1
    mrs     x2, esr_el1
    stp     x1, x2, [sp, #256]
    mrs     x1, far_el1
    mrs     x2, spsr_el1
    stp     x1, x2, [sp, #272]
    mov     x1, sp
    bl      dartsync_exception
    b       dartsync_parked
